//! Why a registrar refused something, in words.

use crate::policy;
use rserpool::proto::policy::{PolicyParameter, PolicyTable};
use rserpool::proto::wire::operation_error::ErrorCause;
use rserpool::proto::wire::transport::{Transport, TransportUse};

/// What a refusal says, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Why.
    pub(crate) why: String,
    /// What to do about it.
    pub(crate) next: String,
    /// Whether it may end without anybody changing what is asked for.
    pub(crate) passes: bool,
}

impl Refusal {
    /// Reads the first cause, which is the one that decided.
    pub(crate) fn new(pool: &str, errors: &[ErrorCause]) -> Self {
        let refusal = |why: String, next: &str| Self { why, next: next.into(), passes: false };
        match errors.first() {
            // Whoever defines policies by a text has it checked word by word: see docs/POLICIES.md.
            Some(ErrorCause::InconsistentPolicy(own)) if is_by_text(own) => {
                let text = own.words().and_then(<[u32]>::last).copied().unwrap_or(0);
                Self {
                    why: format!(
                        "pool {pool} has a policy by an expression, number {} and text {text:#010x}, \
                         that is not the one asked for",
                        own.number
                    ),
                    next: "give --policies the registrar's own definitions, or another pool".into(),
                    passes: false,
                }
            }
            Some(ErrorCause::InconsistentPolicy(own)) => {
                let own = policy::View::from(own);
                Self {
                    why: format!("pool {pool} has another policy: {}", own.name),
                    next: format!("use --policy {}, or another pool", own.name),
                    passes: false,
                }
            }
            Some(ErrorCause::InconsistentTransport(own)) => refusal(
                format!("the elements of pool {pool} are reached by {}", transport(own)),
                "use the same transport, or another pool",
            ),
            Some(ErrorCause::InconsistentDataControl) => refusal(
                format!("the elements of pool {pool} use the control channel differently"),
                "use another pool",
            ),
            Some(ErrorCause::NonUniquePeId) => Self {
                why: format!("pool {pool} has another living element with this identifier"),
                next: "choose another --id, or none to have one drawn".into(),
                passes: true,
            },
            Some(ErrorCause::LackOfResources) => Self {
                why: "the registrar has no room for another element".into(),
                next: "raise its [limits], or take elements away".into(),
                passes: true,
            },
            Some(ErrorCause::SecurityConsiderations) => refusal(
                "the registrar does not permit it".into(),
                "check who may register in this pool, and from which addresses",
            ),
            Some(ErrorCause::InvalidValues(value)) if is_transport(value) => refusal(
                "the registrar does not accept the address: this host's association with it has \
                 another one"
                    .into(),
                "advertise an address of this host, reach the registrar by tcp://, or have it take \
                 all: [compat] registered_addresses = \"any\"",
            ),
            Some(ErrorCause::InvalidValues(_)) => refusal(
                "the registrar does not accept one of the values".into(),
                "check the pool's name (some registrars take no more than 32 bytes), the address \
                 and the policy's values",
            ),
            Some(other) => {
                refusal(format!("the registrar says: {other:?}"), "see the registrar's log")
            }
            None => Self {
                why: "the registrar does not say why".into(),
                next: "see the registrar's log".into(),
                passes: true,
            },
        }
    }
}

fn is_by_text(policy: &PolicyParameter) -> bool {
    policy.number.is_private() && PolicyTable::builtin().by_number(policy.number).is_none()
}

fn is_transport(parameter: &[u8]) -> bool {
    let kind = parameter.first_chunk().map(|kind| u16::from_be_bytes(*kind));
    kind.is_some_and(Transport::is_transport)
}

fn transport(transport: &Transport) -> &'static str {
    match transport {
        Transport::Dccp { .. } => "DCCP",
        Transport::Sctp(sctp) => match sctp.transport_use {
            TransportUse::DataOnly => "SCTP",
            TransportUse::DataPlusControl => "SCTP with the control channel",
        },
        Transport::Tcp(_) => "TCP",
        Transport::Udp(_) => "UDP",
        Transport::UdpLite(_) => "UDP-Lite",
        Transport::Opaque(_) => "a transport of their own",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_mismatch_names_the_pool_s_own_policy() {
        let own = PolicyTable::builtin().parameter("least-used", &[]).unwrap();
        let refusal = Refusal::new("web", &[ErrorCause::InconsistentPolicy(own)]);
        assert_eq!(refusal.why, "pool web has another policy: least-used");
        assert!(refusal.next.contains("--policy least-used"));
        assert!(!refusal.passes);
    }

    #[test]
    fn a_transport_mismatch_names_the_pool_s_own_transport() {
        let own = Transport::Udp("127.0.0.1:1".parse().unwrap());
        let refusal = Refusal::new("web", &[ErrorCause::InconsistentTransport(own)]);
        assert_eq!(refusal.why, "the elements of pool web are reached by UDP");
    }
}
