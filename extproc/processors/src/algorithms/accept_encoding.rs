//! Reads `accept-encoding` (RFC 9110, 12.5.3): whether a client wants gzip.

/// Which of the two codings that can be made a client should get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The client takes gzip at least as gladly as the body as it is.
    Gzip,
    /// The body as it is: the client prefers it, names no coding that can be made, or takes none of both, which the RFC
    /// answers with the body as it is as well.
    Identity,
}

/// Chooses by all `accept-encoding` fields of a request, of which there may be none. A part that cannot be read counts as
/// not there.
pub fn choose<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Choice {
    let (mut gzip, mut identity, mut others) = (None, None, None);
    for part in fields
        .into_iter()
        .flat_map(|field| field.split(|byte| *byte == b','))
    {
        let Some((coding, weight)) = read(part) else {
            continue;
        };
        let is = |name: &str| coding.eq_ignore_ascii_case(name);
        let place = if is("gzip") || is("x-gzip") {
            &mut gzip
        } else if is("identity") {
            &mut identity
        } else if is("*") {
            &mut others
        } else {
            continue;
        };
        // Of a coding named twice, the more willing counts.
        *place = (*place).max(Some(weight));
    }
    let gzip = gzip.or(others).unwrap_or(0);
    // What is not named is acceptable, but behind all that is.
    if gzip > 0 && gzip >= identity.unwrap_or(0) {
        Choice::Gzip
    } else {
        Choice::Identity
    }
}

/// A coding and its weight in thousandths.
fn read(part: &[u8]) -> Option<(&str, u16)> {
    let part = str::from_utf8(part).ok()?;
    let mut parameters = part.split(';').map(|text| text.trim_matches([' ', '\t']));
    let coding = parameters.next().filter(|coding| !coding.is_empty())?;
    match parameters.next() {
        None => Some((coding, 1_000)),
        Some(weight) => {
            let (name, value) = weight.split_once('=')?;
            let is_weight = name.eq_ignore_ascii_case("q") && parameters.next().is_none();
            Some((coding, is_weight.then(|| thousandths(value))??))
        }
    }
}

/// `0`, `0.5`, `1.000`: at most three digits behind the point, and at most 1.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_fraction = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let fraction: u16 = is_fraction.then(|| format!("{fraction:0<3}").parse().ok())??;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gzip_for_clients_that_want_it() {
        for field in [
            "gzip",
            "GZip",
            "x-gzip",
            "gzip, deflate, br, zstd",
            "br;q=1.0, gzip;q=0.8, *;q=0.1",
            "gzip;q=0.001",
            "gzip; q=1.000",
            "gzip;Q=0.5,identity;q=0.5",
            "*",
            "*;q=0.5, identity;q=0.1",
            "deflate, gzip;q=0.3, identity;q=0",
            "gzip;q=0, gzip",
        ] {
            assert_eq!(choose([field.as_bytes()]), Choice::Gzip, "{field}");
        }
        assert_eq!(
            choose([&b"br"[..], b"gzip;q=0.5"]),
            Choice::Gzip,
            "every field counts"
        );
    }

    #[test]
    fn the_body_as_it_is_for_all_others() {
        for field in [
            "",
            "identity",
            "br, zstd",
            "gzip;q=0",
            "gzip;q=0.000, *",
            "*;q=0",
            "identity, gzip;q=0.5",
            "identity;q=0, gzip;q=0",
            "gzipped",
            "gzip;q=2",
            "gzip;q=0.1234",
            "gzip;q=",
            "gzip;q=-1",
            "gzip;level=9",
            "gzip;q=0.5;q=1",
        ] {
            assert_eq!(choose([field.as_bytes()]), Choice::Identity, "{field}");
        }
        assert_eq!(
            choose([]),
            Choice::Identity,
            "a client that names nothing gets nothing packed"
        );
        assert_eq!(choose([&b"\xff, gzip\xff"[..]]), Choice::Identity);
    }

    proptest! {
        #[test]
        fn any_field_is_read_without_a_panic(field in r"[gzip;q=0.1,* ]{0,30}|.{0,30}") {
            let _ = choose([field.as_bytes()]);
        }

        #[test]
        fn a_weight_is_read_in_thousandths(thousandth in 0..=1_000_u16) {
            let text = format!("{}.{:03}", thousandth / 1_000, thousandth % 1_000);
            prop_assert_eq!(thousandths(&text), Some(thousandth));
            prop_assert_eq!(thousandths(text.trim_end_matches('0')), Some(thousandth));
        }
    }
}
