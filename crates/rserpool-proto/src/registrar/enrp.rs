//! ENRP at the registrar: the table, for readers that are no registrars (RFC 5353 §2.2, §2.3).
//!
//! A reader asks with sending id 0 until M is clear; it never becomes a peer. A position is kept
//! per association, so that what is added or removed between two pieces neither repeats nor hides
//! what was there all the time.

use super::{Action, Ignored, Registrar};
use crate::id::{AssociationId, ServerId};
use crate::wire::enrp::{Body, Message, TableResponseBuilder};
use crate::wire::{self, PPID_ENRP};
use alloc::vec::Vec;

/// Elements in one piece at most; with a few dozen bytes each, well below what a message holds.
const ELEMENTS_PER_PIECE: usize = 512;

impl Registrar {
    pub(super) fn on_enrp(&mut self, assoc: AssociationId, message: Message) {
        match message.body {
            Body::HandleTableRequest { own_only, capabilities } => {
                if let Some(association) = self.associations.get_mut(&assoc) {
                    association.capabilities = association.capabilities.or(capabilities);
                }
                self.on_handle_table_request(assoc, message.sender, own_only);
            }
            Body::Error { errors } => self.ignore(assoc, Ignored::Error(errors.into())),
            _ => self.ignore(assoc, Ignored::Unexpected),
        }
    }

    /// RFC 5353 §3.2.3, the mentor's side.
    fn on_handle_table_request(&mut self, assoc: AssociationId, sender: ServerId, own_only: bool) {
        let Some(association) = self.associations.get_mut(&assoc) else {
            return;
        };
        let local = association.remote.addresses.as_slice().iter().all(|a| a.is_loopback());
        if !local || !self.config.authority.permits(&association.identity, &Action::ReadTable) {
            let body =
                Body::HandleTableResponse { more: false, rejected: true, entries: Vec::new() };
            self.transmit_enrp(assoc, sender, body);
            return self.ignore(assoc, Ignored::NotPermitted);
        }
        let ours = association.capabilities.is_some();
        let after = association.table_cursor.take();
        let owner = own_only.then_some(self.id);
        let mut bytes = Vec::new();
        let limit = wire::tlv::MAX_MESSAGE_LEN;
        let mut response = TableResponseBuilder::new(&mut bytes, self.id, sender, limit);
        let mut cursor = None;
        let mut more = false;
        let after = after.as_ref().map(|(handle, id)| (handle, *id));
        for (pool, _, element) in self.handlespace.table(after, owner) {
            let parts = match ours {
                true => element.parts(),
                false => element.parts().without_extensions(),
            };
            if response.elements() == ELEMENTS_PER_PIECE || !response.push(pool.handle(), parts) {
                more = true;
                break;
            }
            cursor = Some((pool.handle().clone(), element.id()));
        }
        if more {
            association.table_cursor = cursor;
        }
        let encoded = response.finish(more);
        self.transmit(assoc, PPID_ENRP, encoded.map(|()| bytes));
    }
}
