//! Strategies of `proptest` that draw whatever can stand on the wire, and bytes that nearly can.
//!
//! What is drawn is in the form that decoding gives it, so that encoding and decoding must give
//! back the same value. Strategies of many parts are boxed, or the trees they draw would outgrow the
//! stack of a test.

use super::asap;
use super::capability::{Capabilities, Owner, Stamp};
use super::enrp;
use super::operation_error::ErrorCause;
use super::policy::{PolicyNumber, PolicyParameter};
use super::pool_element::{ElementExtensions, PoolElement};
use super::server_information::ServerInformation;
use super::transport::{Addresses, SctpTransport, Transport, TransportUse};
use super::unknown::UnknownParameter;
use crate::id::{PeId, PoolHandle, ServerId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Any pool handle, most of them short.
pub fn pool_handle() -> impl Strategy<Value = PoolHandle> {
    prop_oneof![
        4 => "[A-Za-z]{1,12}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 1..=PoolHandle::MAX_LEN),
    ]
    .prop_map(|bytes| PoolHandle::new(bytes).expect("1 to 255 bytes were drawn"))
}

/// Any element identifier.
pub fn pe_id() -> impl Strategy<Value = PeId> {
    any::<u32>().prop_map(PeId)
}

/// Any registrar identifier, zero included.
pub fn server_id() -> impl Strategy<Value = ServerId> {
    prop_oneof![1 => Just(ServerId::NONE), 4 => any::<u32>().prop_map(ServerId)]
}

/// Any address and port.
pub fn socket_addr() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

/// An SCTP transport of one to five addresses.
pub fn sctp_transport() -> BoxedStrategy<SctpTransport> {
    let transport_use =
        prop_oneof![Just(TransportUse::DataOnly), Just(TransportUse::DataPlusControl)];
    (any::<u16>(), transport_use, vec(any::<IpAddr>(), 1..=5))
        .prop_map(|(port, transport_use, addresses)| SctpTransport {
            port,
            transport_use,
            addresses: Addresses::new(&addresses).expect("at least one was drawn"),
        })
        .boxed()
}

/// A transport of any kind.
pub fn transport() -> BoxedStrategy<Transport> {
    prop_oneof![
        (socket_addr(), any::<u32>())
            .prop_map(|(address, service_code)| Transport::Dccp { address, service_code }),
        sctp_transport().prop_map(Transport::Sctp),
        socket_addr().prop_map(Transport::Tcp),
        socket_addr().prop_map(Transport::Udp),
        socket_addr().prop_map(Transport::UdpLite),
        vec(any::<u8>(), 0..20).prop_map(|bytes| Transport::Opaque(bytes.into())),
    ]
    .boxed()
}

/// Where a registrar is: SCTP or TCP.
pub fn server_transport() -> impl Strategy<Value = Transport> {
    prop_oneof![sctp_transport().prop_map(Transport::Sctp), socket_addr().prop_map(Transport::Tcp),]
}

/// Any policy, known or not, with any data.
pub fn policy() -> BoxedStrategy<PolicyParameter> {
    let number = prop_oneof![1..=5_u32, 0x4000_0001..=0x4000_0004_u32, any::<u32>()];
    (number, vec(any::<u8>(), 0..=24))
        .prop_map(|(number, bytes)| PolicyParameter::from_bytes(PolicyNumber(number), &bytes))
        .boxed()
}

/// A parameter that is known nowhere and does not stop the message.
pub fn unknown_parameter() -> impl Strategy<Value = UnknownParameter> {
    let kind = prop_oneof![0x8000..=0x803e_u16, 0x9508..=0xfffe_u16];
    (kind, vec(any::<u8>(), 0..=9))
        .prop_map(|(kind, value)| UnknownParameter { kind, value: value.into() })
}

/// None to three unknown parameters, mostly none.
pub fn unknown_parameters() -> BoxedStrategy<Box<[UnknownParameter]>> {
    prop_oneof![
        3 => Just(Box::default()),
        1 => vec(unknown_parameter(), 1..=3).prop_map(Vec::into_boxed_slice),
    ]
    .boxed()
}

/// Any stamp.
pub fn stamp() -> impl Strategy<Value = Stamp> {
    any::<(u64, u32)>().prop_map(|(seq, moves)| Stamp { seq, moves })
}

/// Any capabilities.
pub fn capabilities() -> impl Strategy<Value = Capabilities> {
    any::<u32>().prop_map(Capabilities)
}

/// A pool element with any of the extensions.
pub fn pool_element() -> BoxedStrategy<PoolElement> {
    let extensions =
        (
            option::of(stamp()),
            option::of(socket_addr()),
            option::of(any::<[u8; 16]>().prop_map(Owner)),
            any::<bool>(),
            unknown_parameters(),
        )
            .prop_map(|(stamp, asap_over_tcp, owner, tcp_control, unknown)| {
                ElementExtensions { stamp, asap_over_tcp, owner, tcp_control, unknown }
            });
    (
        pe_id(),
        server_id(),
        any::<i32>(),
        transport(),
        policy(),
        option::of(sctp_transport()),
        extensions,
    )
        .prop_map(|(id, home, life, user_transport, policy, asap_transport, extensions)| {
            PoolElement { id, home, life, user_transport, policy, asap_transport, extensions }
        })
        .boxed()
}

/// Any registrar.
pub fn server_information() -> BoxedStrategy<ServerInformation> {
    (server_id(), server_transport(), unknown_parameters())
        .prop_map(|(id, transport, unknown)| ServerInformation { id, transport, unknown })
        .boxed()
}

/// Any error cause, codes beyond the RFC included.
pub fn error_cause() -> BoxedStrategy<ErrorCause> {
    let bytes = || vec(any::<u8>(), 0..=12).prop_map(Vec::into_boxed_slice);
    prop_oneof![
        prop_oneof![
            Just(ErrorCause::Unspecified),
            Just(ErrorCause::NonUniquePeId),
            Just(ErrorCause::LackOfResources),
            Just(ErrorCause::InconsistentDataControl),
            Just(ErrorCause::UnknownPoolHandle),
            Just(ErrorCause::SecurityConsiderations),
        ],
        bytes().prop_map(ErrorCause::UnrecognizedParameter),
        bytes().prop_map(ErrorCause::UnrecognizedMessage),
        bytes().prop_map(ErrorCause::InvalidValues),
        policy().prop_map(ErrorCause::InconsistentPolicy),
        transport().prop_map(ErrorCause::InconsistentTransport),
        (0xb..=0xffff_u16, bytes()).prop_map(|(code, value)| ErrorCause::Unknown { code, value }),
    ]
    .boxed()
}

fn error_causes(least: usize) -> impl Strategy<Value = Vec<ErrorCause>> {
    vec(error_cause(), least..=3)
}

/// Any ASAP message.
pub fn asap_message() -> BoxedStrategy<asap::Message> {
    (asap_body(), unknown_parameters())
        .prop_map(|(body, unknown)| asap::Message { body, unknown })
        .boxed()
}

fn asap_body() -> BoxedStrategy<asap::Body> {
    use asap::Body;
    let capabilities = || option::of(capabilities());
    let cookie = || vec(any::<u8>(), 0..40).prop_map(Vec::into_boxed_slice);
    prop_oneof![
        (pool_handle(), pool_element(), capabilities(), option::of(stamp())).prop_map(
            |(handle, element, capabilities, stamp)| Body::Registration {
                handle,
                element: Box::new(element),
                capabilities,
                stamp,
            }
        ),
        (pool_handle(), pe_id(), option::of(stamp()))
            .prop_map(|(handle, id, stamp)| Body::Deregistration { handle, id, stamp }),
        (any::<bool>(), pool_handle(), pe_id(), error_causes(0), capabilities()).prop_map(
            |(rejected, handle, id, errors, capabilities)| Body::RegistrationResponse {
                rejected,
                handle,
                id,
                errors,
                capabilities,
            }
        ),
        (pool_handle(), pe_id(), error_causes(0))
            .prop_map(|(handle, id, errors)| Body::DeregistrationResponse { handle, id, errors }),
        (any::<bool>(), pool_handle(), option::of(any::<u32>()), capabilities()).prop_map(
            |(subscribe, handle, items, capabilities)| Body::HandleResolution {
                subscribe,
                handle,
                items,
                capabilities,
            }
        ),
        resolution_response()
            .prop_map(|response| Body::HandleResolutionResponse(Box::new(response))),
        (any::<bool>(), server_id(), pool_handle(), option::of(pe_id())).prop_map(
            |(home, server, handle, id)| Body::EndpointKeepAlive { home, server, handle, id }
        ),
        (pool_handle(), pe_id()).prop_map(|(handle, id)| Body::EndpointKeepAliveAck { handle, id }),
        (pool_handle(), pe_id()).prop_map(|(handle, id)| Body::EndpointUnreachable { handle, id }),
        (server_id(), vec(server_transport(), 0..=3))
            .prop_map(|(server, transports)| Body::ServerAnnounce { server, transports }),
        cookie().prop_map(Body::Cookie),
        cookie().prop_map(Body::CookieEcho),
        (pool_handle(), vec(pool_element(), 1..=3))
            .prop_map(|(handle, elements)| Body::BusinessCard { handle, elements }),
        error_causes(1).prop_map(|errors| Body::Error { errors }),
    ]
    .boxed()
}

/// Any answer to a resolution.
pub fn resolution_response() -> BoxedStrategy<asap::HandleResolutionResponse> {
    (
        any::<bool>(),
        pool_handle(),
        option::of(policy()),
        vec(pool_element(), 0..=3),
        error_causes(0),
        option::of(any::<u32>()),
        option::of(capabilities()),
    )
        .prop_map(|(subscribed, handle, policy, elements, errors, total, capabilities)| {
            asap::HandleResolutionResponse {
                subscribed,
                handle,
                policy,
                elements,
                errors,
                total,
                capabilities,
            }
        })
        .boxed()
}

/// Any ENRP message.
pub fn enrp_message() -> BoxedStrategy<enrp::Message> {
    (server_id(), server_id(), enrp_body(), unknown_parameters())
        .prop_map(|(sender, receiver, body, unknown)| enrp::Message {
            sender,
            receiver,
            body,
            unknown,
        })
        .boxed()
}

fn enrp_body() -> BoxedStrategy<enrp::Body> {
    use enrp::{Body, PoolEntry, UpdateAction};
    let capabilities = || option::of(capabilities());
    let action = prop_oneof![Just(UpdateAction::Add), Just(UpdateAction::Delete)];
    let entry = (pool_handle(), vec(pool_element(), 1..=3))
        .prop_map(|(handle, elements)| PoolEntry { handle, elements });
    prop_oneof![
        (
            any::<bool>(),
            option::of(any::<u16>()),
            option::of(server_information()),
            option::of(any::<u64>()),
            capabilities(),
        )
            .prop_map(|(reply_required, checksum, server, digest, capabilities)| {
                Body::Presence { reply_required, checksum, server, digest, capabilities }
            }),
        (any::<bool>(), capabilities()).prop_map(|(own_only, capabilities)| {
            Body::HandleTableRequest { own_only, capabilities }
        }),
        (any::<bool>(), any::<bool>(), vec(entry, 0..=3)).prop_map(|(more, rejected, entries)| {
            Body::HandleTableResponse { more, rejected, entries }
        }),
        (any::<bool>(), any::<bool>(), action, pool_handle(), pool_element()).prop_map(
            |(takeover_suggested, suspected, action, handle, element)| Body::HandleUpdate {
                takeover_suggested,
                suspected,
                action,
                handle,
                element: Box::new(element),
            }
        ),
        Just(Body::ListRequest),
        (any::<bool>(), vec(server_information(), 0..=3))
            .prop_map(|(rejected, servers)| Body::ListResponse { rejected, servers }),
        server_id().prop_map(|target| Body::InitTakeover { target }),
        server_id().prop_map(|target| Body::InitTakeoverAck { target }),
        server_id().prop_map(|target| Body::TakeoverServer { target }),
        error_causes(1).prop_map(|errors| Body::Error { errors }),
    ]
    .boxed()
}

/// Bytes of an ASAP message, then changed in one to four places.
pub fn nearly_asap() -> impl Strategy<Value = Vec<u8>> {
    damaged(asap_message().prop_map(|message| {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).expect("what is drawn is small");
        bytes
    }))
}

/// Bytes of an ENRP message, then changed in one to four places.
pub fn nearly_enrp() -> impl Strategy<Value = Vec<u8>> {
    damaged(enrp_message().prop_map(|message| {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).expect("what is drawn is small");
        bytes
    }))
}

/// One way to damage a message, at a place given by a share of its length.
#[derive(Clone, Debug)]
enum Damage {
    /// A byte becomes another one.
    Set(u8),
    /// Lengths and types live in pairs: add to the 16-bit number at the place.
    Add(i8),
    /// A piece is cut out.
    Remove(u8),
    /// A piece is put in.
    Insert(Vec<u8>),
    /// The end is missing.
    Truncate,
    /// The Message Length becomes true again.
    FixLength,
}

fn damaged(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damage = prop_oneof![
        any::<u8>().prop_map(Damage::Set),
        (-8..=8_i8).prop_map(Damage::Add),
        (1..=12_u8).prop_map(Damage::Remove),
        vec(any::<u8>(), 1..=12).prop_map(Damage::Insert),
        Just(Damage::Truncate),
        Just(Damage::FixLength),
    ];
    (bytes, vec((any::<prop::sample::Index>(), damage), 1..=4)).prop_map(|(mut bytes, damages)| {
        for (place, damage) in damages {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            match damage {
                Damage::Set(value) => bytes[place] = value,
                Damage::Add(change) => {
                    let place = place & !1;
                    if let Some(Ok(pair)) =
                        bytes.get_mut(place..place + 2).map(<&mut [u8; 2]>::try_from)
                    {
                        let value = u16::from_be_bytes(*pair).wrapping_add_signed(change.into());
                        *pair = value.to_be_bytes();
                    }
                }
                Damage::Remove(len) => {
                    let end = bytes.len().min(place + usize::from(len));
                    bytes.drain(place..end);
                }
                Damage::Insert(piece) => {
                    bytes.splice(place..place, piece);
                }
                Damage::Truncate => bytes.truncate(place),
                Damage::FixLength => {
                    let len = bytes.len() as u16;
                    if let Some(field) = bytes.get_mut(2..4) {
                        field.copy_from_slice(&len.to_be_bytes());
                    }
                }
            }
        }
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use crate::wire::{Decoded, framer::Framer};

    proptest! {
        #[test]
        fn every_asap_message_decodes_to_what_was_encoded(message in asap_message()) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes).unwrap();
            let Decoded { message: decoded, reports } = asap::Message::decode(&bytes).unwrap();
            prop_assert_eq!(&decoded, &message);
            // Class 11 is reported wherever it stands, except from within an error.
            let is_error = matches!(message.body, asap::Body::Error { .. });
            let outer = message.unknown.iter().filter(|parameter| parameter.kind >> 14 == 3);
            let all_reported = reports.len() >= outer.count();
            prop_assert!(all_reported || (is_error && reports.is_empty()));

            let mut framer = Framer::new();
            prop_assert_eq!(framer.push(&bytes), bytes.len());
            prop_assert_eq!(framer.next_frame(), Ok(Some(&bytes[..])));
        }

        #[test]
        fn every_enrp_message_decodes_to_what_was_encoded(message in enrp_message()) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes).unwrap();
            prop_assert_eq!(enrp::Message::decode(&bytes).unwrap().message, message);
        }

        #[test]
        fn the_last_padding_may_be_counted_or_not_and_be_sent_or_not(
            body in asap_body(),
            last in unknown_parameter(),
        ) {
            // RFC 5354 §4: padding is not counted; rsplib counts it.
            let padding = last.value.len().wrapping_neg() & 3;
            let message = asap::Message { body, unknown: [last].into() };
            let mut bytes = Vec::new();
            message.encode(&mut bytes).unwrap();
            let end = bytes.len() - padding;
            let mut not_counted = bytes.clone();
            not_counted[2..4].copy_from_slice(&(end as u16).to_be_bytes());
            prop_assert_eq!(&asap::Message::decode(&not_counted).unwrap().message, &message);
            prop_assert_eq!(&asap::Message::decode(&not_counted[..end]).unwrap().message, &message);
        }

        #[test]
        fn damaged_messages_keep_the_laws(asap in nearly_asap(), enrp in nearly_enrp()) {
            fuzz::asap_message(&asap);
            fuzz::enrp_message(&enrp);
            // And each where the other is expected.
            fuzz::asap_message(&enrp);
            fuzz::enrp_message(&asap);
        }
    }
}
