//! The smallest machine.

use super::Hosted;
use crate::proto::id::AssociationId;
use crate::proto::machine::{Input, Machine, Output};
use crate::proto::time::Instant;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::ControlFlow;

/// Answers each message with itself, or with one of another length: what a driver costs is
/// measured with it, and what a machine costs by comparison.
#[derive(Debug, Default)]
pub struct Echo {
    outputs: VecDeque<Output<Infallible>>,
    answer: Option<Vec<u8>>,
}

impl Echo {
    /// Answers everything with this message instead.
    pub fn answering(answer: Vec<u8>) -> Self {
        Self { answer: Some(answer), ..Self::default() }
    }

    fn answer_to(&self, message: &[u8]) -> Vec<u8> {
        match &self.answer {
            Some(answer) => answer.clone(),
            None => message.to_vec(),
        }
    }

    fn transmit(&mut self, assoc: AssociationId, ppid: u32, bytes: Vec<u8>) {
        self.outputs.push_back(Output::Transmit { assoc, ppid, bytes });
    }
}

impl Machine for Echo {
    type Event = Infallible;

    fn handle_input(&mut self, _: Instant, input: Input<'_>) {
        if let Input::Received { assoc, ppid, bytes } = input {
            self.transmit(assoc, ppid, self.answer_to(bytes));
        }
    }

    fn poll_output(&mut self) -> Option<Output<Infallible>> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}

impl Hosted for Echo {
    type Machine = Self;
    type Command = ();

    fn machine(&mut self) -> &mut Self {
        self
    }

    /// Any command ends it.
    fn on_command(&mut self, _: Instant, (): ()) -> ControlFlow<()> {
        ControlFlow::Break(())
    }

    fn on_event(&mut self, _: Instant, event: Infallible) {
        match event {}
    }
}
