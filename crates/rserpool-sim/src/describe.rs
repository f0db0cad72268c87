//! Messages and events in a line of words, for traces.

use crate::session::{REPLY, Said};
use rserpool_proto::endpoint::{pool_element, pool_user};
use rserpool_proto::machine::Channel;
use rserpool_proto::registrar;
use rserpool_proto::session::user::Target;
use rserpool_proto::session::{self, Payload};
use rserpool_proto::wire::PPID_ASAP;
use rserpool_proto::wire::asap::Body;
use rserpool_proto::wire::capability::Capabilities;
use rserpool_proto::wire::operation_error::ErrorCause;
use rserpool_proto::wire::policy::PolicyParameter;
use rserpool_proto::wire::pool_element::PoolElement;
use rserpool_proto::wire::{asap, enrp};
use std::fmt::Write as _;

/// A message: its name and what matters in it.
pub(crate) fn message(channel: Channel, bytes: &[u8]) -> String {
    match channel {
        Channel::Asap => match asap::Message::decode(bytes) {
            Ok(decoded) => asap_body(&decoded.message.body),
            Err(error) => format!("({} bytes that are no message: {error})", bytes.len()),
        },
        Channel::Enrp => match enrp::Message::decode(bytes) {
            Ok(decoded) => {
                let message = decoded.message;
                let mut text = message.body.name().to_owned();
                let _ = write!(text, " from {}", message.sender);
                enrp_body(&mut text, &message.body);
                text
            }
            Err(error) => format!("({} bytes that are no message: {error})", bytes.len()),
        },
    }
}

/// What matters in a message between registrars.
fn enrp_body(out: &mut String, body: &enrp::Body) {
    use enrp::Body;
    let _ = match body {
        Body::Presence { reply_required, digest, .. } => {
            if let Some(digest) = digest {
                let _ = write!(out, " digest ..{:04x}", digest & 0xffff);
            }
            write!(out, "{}", if *reply_required { " reply" } else { "" })
        }
        Body::HandleTableRequest { own_only, .. } => {
            write!(out, "{}", if *own_only { " own" } else { "" })
        }
        Body::HandleTableResponse { more, rejected, entries } => {
            for entry in entries {
                let _ = write!(out, " {}", entry.handle);
                for element in &entry.elements {
                    let _ = named(out, element);
                }
            }
            let _ = write!(out, "{}", if *rejected { " rejected" } else { "" });
            write!(out, "{}", if *more { " more" } else { "" })
        }
        Body::HandleUpdate { takeover_suggested, suspected, action, handle, element } => {
            let _ = match action {
                enrp::UpdateAction::Add => write!(out, " ADD {handle}"),
                enrp::UpdateAction::Delete => write!(out, " DEL {handle}"),
            };
            let _ = named(out, element);
            let _ = write!(out, "{}", if *takeover_suggested { " take it over" } else { "" });
            write!(out, "{}", if *suspected { " suspected" } else { "" })
        }
        Body::ListRequest => Ok(()),
        Body::ListResponse { rejected, servers } => {
            for server in servers {
                let _ = write!(out, " {}", server.id);
            }
            write!(out, "{}", if *rejected { " rejected" } else { "" })
        }
        Body::InitTakeover { target }
        | Body::InitTakeoverAck { target }
        | Body::TakeoverServer { target } => write!(out, " of {target}"),
        Body::Error { errors } => causes(out, errors),
    };
}

/// An element, its home and how its stamp ends.
fn named(out: &mut String, element: &PoolElement) -> std::fmt::Result {
    write!(out, " {} home {}", element.id, element.home)?;
    match element.extensions.stamp {
        Some(stamp) => write!(out, " stamp ..{}.{}", stamp.seq % 1_000_000_000, stamp.moves),
        None => Ok(()),
    }
}

fn asap_body(body: &Body) -> String {
    let mut text = body.name().to_owned();
    let out = &mut text;
    let _ = match body {
        Body::Registration { handle, element, capabilities, .. } => {
            let millis = capabilities.is_some_and(Capabilities::counts_milliseconds);
            let unit = if millis { " ms" } else { "" };
            let _ = write!(out, " {handle} {} life {}{unit}", element.id, element.life);
            let _ = write!(out, " policy {}", policy(&element.policy));
            match element.extensions.stamp {
                // The wall clock stands in the upper digits: how far it has come is what matters.
                Some(stamp) => write!(out, " stamp ..{}", stamp.seq % 1_000_000_000),
                None => Ok(()),
            }
        }
        Body::Deregistration { handle, id, .. } => write!(out, " {handle} {id}"),
        Body::RegistrationResponse { rejected, handle, id, errors, .. } => {
            let _ =
                write!(out, " {handle} {id} {}", if *rejected { "rejected" } else { "granted" });
            causes(out, errors)
        }
        Body::DeregistrationResponse { handle, id, errors } => {
            let _ = write!(out, " {handle} {id}");
            causes(out, errors)
        }
        Body::HandleResolution { handle, items, subscribe, .. } => {
            let _ = write!(out, " {handle}");
            if let Some(items) = items {
                let _ = write!(out, " items {items}");
            }
            write!(out, "{}", if *subscribe { " subscribe" } else { "" })
        }
        Body::HandleResolutionResponse(response) => {
            let _ = write!(out, " {}", response.handle);
            for element in &response.elements {
                let _ = write!(out, " {}", element.id);
            }
            if let Some(total) = response.total {
                let _ = write!(out, " of {total}");
            }
            if response.capabilities.is_some_and(Capabilities::is_update) {
                let _ = write!(out, " update");
            } else if response.subscribed {
                let _ = write!(out, " subscribed");
            }
            causes(out, &response.errors)
        }
        Body::EndpointKeepAlive { home, handle, id, .. } => {
            let _ = write!(out, " {handle}");
            if let Some(id) = id {
                let _ = write!(out, " {id}");
            }
            write!(out, "{}", if *home { " home" } else { "" })
        }
        Body::EndpointKeepAliveAck { handle, id } | Body::EndpointUnreachable { handle, id } => {
            write!(out, " {handle} {id}")
        }
        Body::ServerAnnounce { server, .. } => write!(out, " {server}"),
        Body::Cookie(bytes) | Body::CookieEcho(bytes) => write!(out, " {} bytes", bytes.len()),
        Body::BusinessCard { handle, elements } => write!(out, " {handle} {}", elements.len()),
        Body::Error { errors } => causes(out, errors),
    };
    text
}

fn causes(out: &mut String, errors: &[ErrorCause]) -> std::fmt::Result {
    errors.iter().try_for_each(|error| write!(out, " [{error}]"))
}

/// A policy's number and words.
pub(crate) fn policy(policy: &PolicyParameter) -> String {
    let mut text = format!("{:#x}", policy.number.0);
    for word in policy.words().unwrap_or(&[]) {
        let _ = write!(text, ":{word}");
    }
    text
}

/// What a registrar tells its owner.
pub(crate) fn registrar(event: &registrar::Event) -> String {
    use registrar::Event;
    match event {
        Event::ElementRegistered { handle, id } => format!("{handle} {id} is registered"),
        Event::RegistrationRefused { handle, id, cause } => {
            format!("{handle} {id} is refused: {cause}")
        }
        Event::ElementRemoved { handle, id, reason } => format!("{handle} {id} removed: {reason}"),
        Event::ElementSuspected { handle, id } => format!("{handle} {id} is suspected"),
        Event::ElementCleared { handle, id } => format!("{handle} {id} is suspected no longer"),
        Event::Ignored { reason, .. } => format!("ignored: {reason}"),
        Event::Drained => "drained".to_owned(),
        other => format!("{other:?}"),
    }
}

/// What an element tells its owner.
pub(crate) fn element(event: &pool_element::Event) -> String {
    use pool_element::Event;
    match event {
        Event::Registered { id, home } => format!("registered as {id} at {home}"),
        Event::Refused { errors } => {
            let mut text = "refused".to_owned();
            let _ = causes(&mut text, errors);
            text
        }
        Event::HomeLost { home, reason } => format!("home {home} lost: {reason}"),
        Event::Deregistered => "deregistered".to_owned(),
        Event::Expired => "expired, says the registrar".to_owned(),
        Event::RegistrarUnreachable => "no registrar answers".to_owned(),
        Event::HealthWanted => "is asked for its health".to_owned(),
        other => format!("{other:?}"),
    }
}

/// What a user tells its owner.
pub(crate) fn user(event: &pool_user::Event) -> String {
    use pool_user::Event;
    match event {
        Event::Resolved { request, result } => match result {
            Ok(resolution) => {
                let mut text = format!("request {}: {}", request.0, resolution.handle);
                for element in &resolution.elements {
                    let _ = write!(text, " {}", element.id);
                }
                if resolution.stale {
                    text.push_str(" (stale)");
                }
                text
            }
            Err(error) => format!("request {}: {error}", request.0),
        },
        Event::Picked { request, result } => match result {
            Ok(element) => format!("request {}: picked {}", request.0, element.id),
            Err(error) => format!("request {}: {error}", request.0),
        },
        Event::PoolChanged { handle, state, pushed } => {
            let mut text = format!("watches {handle}:");
            let _ = match state {
                Ok(resolution) => {
                    let mut ids: Vec<_> = resolution.elements.iter().map(|e| e.id).collect();
                    ids.sort_unstable();
                    ids.iter().try_for_each(|id| write!(text, " {id}"))
                }
                Err(error) => write!(text, " {error}"),
            };
            text.push_str(if *pushed { "" } else { " (asks again and again)" });
            text
        }
        Event::HomeFound { home } => format!("home is {home}"),
        Event::HomeLost { home, reason } => format!("home {home} lost: {reason}"),
        Event::RegistrarUnreachable => "no registrar answers".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A message of a session.
pub(crate) fn in_session(ppid: u32, bytes: &[u8]) -> String {
    match (ppid, bytes.first(), Said::read(bytes)) {
        (PPID_ASAP, Some(&END), _) => "END".to_owned(),
        (PPID_ASAP, ..) => message(Channel::Asap, bytes),
        (_, Some(&REPLY), Some(said)) => format!("data: answer to {}", said.number),
        (_, _, Some(said)) => format!("data: message {}", said.number),
        _ => format!("data: {} bytes", bytes.len()),
    }
}

/// Type of END, a message of our own that ends a session.
const END: u8 = 0xf0;

/// With whom a session begins.
pub(crate) fn target(target: &Target) -> String {
    match target {
        Target::Pool(pool) => pool.to_string(),
        Target::Element(handle) => handle.to_string(),
    }
}

/// What a user's session tells its owner.
pub(crate) fn user_session(event: &session::user::Event) -> String {
    use session::user::Event;
    let given_back = |unsent: &[Payload]| match unsent {
        [] => String::new(),
        unsent => {
            let numbers = unsent.iter().filter_map(|payload| Said::read(&payload.bytes));
            let numbers: Vec<_> = numbers.map(|said| said.number.to_string()).collect();
            format!(", gives back {}", numbers.join(" "))
        }
    };
    match event {
        Event::Wanted(wanted) => format!("wants {wanted:?}"),
        Event::Unreachable(id) => format!("cannot use {id}"),
        Event::Begun(element) => format!("session is with {}", element.id),
        Event::Failover { from, to, cookie_sent, unsent } => {
            let cookie = if *cookie_sent { "echoes a cookie" } else { "has no cookie" };
            let given_back = given_back(unsent);
            format!("session goes on with {} instead of {from}, {cookie}{given_back}", to.id)
        }
        Event::Received(payload) => format!("is told {}", in_session(0, &payload.bytes)),
        Event::BusinessCard(card) => {
            let elements: Vec<_> = card.elements.iter().map(|own| own.id.to_string()).collect();
            format!("is told to prefer {}", elements.join(" "))
        }
        Event::Ended { reason, unsent } => {
            format!("session is over: {reason}{}", given_back(unsent))
        }
    }
}

/// What an element's session tells its owner.
pub(crate) fn element_session(event: &session::element::Event) -> String {
    use session::element::Event;
    match event {
        Event::Begun { cookie: None } => "session begins anew".to_owned(),
        Event::Begun { cookie: Some(cookie) } => match Said::read(cookie) {
            Some(said) => format!("session begins where {} was answered", said.number),
            None => "session begins with a cookie".to_owned(),
        },
        Event::Received(payload) => format!("is told {}", in_session(0, &payload.bytes)),
        Event::LateCookie(_) => "gets a cookie too late".to_owned(),
        Event::BusinessCard(card) => format!("session is with an element of {}", card.handle),
        Event::Ended(reason) => format!("session is over: {reason}"),
    }
}
