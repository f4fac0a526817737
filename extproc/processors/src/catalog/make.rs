//! Sets up the processors that have settings.

use std::{fs, io, num::NonZeroUsize};

use extproc::Erased;

use crate::{
    algorithms::{
        checksum::Algorithm,
        gzip::{Level, Limits},
        json,
        scan::Patterns,
    },
    processors::{
        AccessLog, Change, Checksum, Compress, Decompress, Dedup, Directions, Field, HeaderChanges,
        HexHeader, Masker, Observe, Redirect, Scan,
    },
    settings::{SettingError, Settings, refused},
};

pub(super) fn dedup(settings: &mut Settings) -> Result<Erased, SettingError> {
    let dedup = settings
        .one::<NonZeroUsize>("capacity")?
        .map_or_else(Dedup::default, Dedup::new);
    let refuses = settings.flag("refuse-when-full")?;
    Ok(Erased::new(if refuses {
        dedup.refuse_when_full()
    } else {
        dedup
    }))
}

pub(super) fn masker(settings: &mut Settings) -> Result<Erased, SettingError> {
    let mut request = settings.all("request")?;
    let response = settings.all("response")?;
    let mask: Option<String> = settings.one("mask")?;
    if request.is_empty() && response.is_empty() {
        // What the Go SDK's example masks.
        for path in ["maskme", "mask.me"] {
            request.push(path.parse().map_err(|reason| refused("request", path, reason))?);
        }
    }
    let make = |paths: Vec<json::Path>| {
        if paths.is_empty() {
            return Ok(None);
        }
        let masker = json::Masker::new(paths);
        match &mask {
            None => Ok(Some(masker)),
            Some(mask) => masker
                .with_mask(mask)
                .map(Some)
                .map_err(|reason| refused("mask", mask, reason)),
        }
    };
    let masker = Masker::new(make(request)?, make(response)?);
    let passes = settings.flag("pass-unreadable")?;
    Ok(Erased::new(if passes {
        masker.pass_unreadable()
    } else {
        masker
    }))
}

pub(super) fn compress(settings: &mut Settings) -> Result<Erased, SettingError> {
    let mut compress = Compress::default();
    if let Some(level) = settings.one("level")? {
        let known = Level::try_new(level).ok_or_else(|| refused("level", level, "write 0 to 9"))?;
        compress = compress.level(known);
    }
    if let Some(shortest) = settings.one("shortest")? {
        compress = compress.shortest(shortest);
    }
    Ok(Erased::new(compress))
}

fn directions(settings: &mut Settings) -> Result<Directions, SettingError> {
    let (request, response) = match settings.one::<String>("direction")?.as_deref() {
        None | Some("both") => (true, true),
        Some("request") => (true, false),
        Some("response") => (false, true),
        Some(other) => return Err(refused("direction", other, "write request, response or both")),
    };
    Ok(Directions { request, response })
}

pub(super) fn decompress(settings: &mut Settings) -> Result<Erased, SettingError> {
    let standard = Limits::default();
    let limits = Limits {
        ratio: settings.one("ratio")?.unwrap_or(standard.ratio),
        total: settings.one("total")?.unwrap_or(standard.total),
        ..standard
    };
    let decompress = Decompress::default().directions(directions(settings)?);
    Ok(Erased::new(decompress.limits(limits)))
}

pub(super) fn checksum(settings: &mut Settings) -> Result<Erased, SettingError> {
    let mut checksum = Checksum::default();
    if settings.flag("required")? {
        checksum = checksum.required();
    }
    let algorithm = match settings.one::<String>("algorithm")?.as_deref() {
        None => None,
        Some("sha-256") => Some(Algorithm::Sha256),
        Some("sha-512") => Some(Algorithm::Sha512),
        Some("crc32") => Some(Algorithm::Crc32),
        Some(other) => return Err(refused("algorithm", other, "write sha-256, sha-512 or crc32")),
    };
    match (settings.one::<String>("hex-header")?, algorithm) {
        (Some(name), algorithm) => {
            let name = name.to_ascii_lowercase();
            let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
            checksum = checksum.hex_header(HexHeader { name, algorithm });
        }
        (None, Some(_)) => {
            let text = "setting algorithm needs hex-header: content-digest says its own algorithm";
            return Err(SettingError::Missing(text.to_owned()));
        }
        (None, None) => {}
    }
    Ok(Erased::new(checksum))
}

pub(super) fn scan(settings: &mut Settings) -> Result<Erased, SettingError> {
    let mut patterns: Vec<String> = settings.all("pattern")?;
    for file in settings.all::<String>("patterns")? {
        let text = fs::read_to_string(&file).map_err(|reason| refused("patterns", &file, reason))?;
        patterns.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    }
    if patterns.is_empty() {
        let text = "scan needs something to look for: pattern=TEXT or patterns=FILE";
        return Err(SettingError::Missing(text.to_owned()));
    }
    let ignores_case = settings.flag("ignore-case")?;
    let patterns = Patterns::try_new(&patterns, ignores_case)
        .map_err(|reason| refused("pattern", patterns.len(), reason))?;
    let mut scan = Scan::new(patterns).directions(directions(settings)?);
    if let Some(status) = settings.one::<u16>("status")? {
        if !(400..600).contains(&status) {
            return Err(refused("status", status, "write 400 to 599"));
        }
        scan = scan.status(status);
    }
    Ok(Erased::new(if settings.flag("pass-encoded")? {
        scan.pass_encoded()
    } else {
        scan
    }))
}

/// A change of a name and a value.
type MakeChange = fn(String, String) -> Change;

pub(super) fn headers(settings: &mut Settings) -> Result<Erased, SettingError> {
    let mut changes = |direction: &str| {
        let mut changes = Vec::new();
        let kinds: [(&str, MakeChange); 3] = [
            ("set", Change::Set),
            ("append", Change::Append),
            ("set-if-absent", Change::SetIfAbsent),
        ];
        for name in settings.all::<String>(&format!("{direction}-remove"))? {
            changes.push(Change::Remove(name.to_ascii_lowercase()));
        }
        for (kind, make) in kinds {
            for Field(name, value) in settings.all(&format!("{direction}-{kind}"))? {
                changes.push(make(name, value));
            }
        }
        Ok(changes)
    };
    let (request, response) = (changes("request")?, changes("response")?);
    if request.is_empty() && response.is_empty() {
        let text = "headers needs something to change, such as request-set=NAME: VALUE";
        return Err(SettingError::Missing(text.to_owned()));
    }
    Ok(Erased::new(HeaderChanges { request, response }))
}

pub(super) fn redirect(settings: &mut Settings) -> Result<Erased, SettingError> {
    let missing = || SettingError::Missing("redirect needs to=URL".to_owned());
    let to: String = settings.one("to")?.ok_or_else(missing)?;
    let from: String = settings.one("from")?.unwrap_or_default();
    let status = settings.one("status")?.unwrap_or(308);
    let redirect = Redirect::try_new(&from, &to, status).map_err(|reason| refused("to", &to, reason))?;
    Ok(Erased::new(redirect))
}

pub(super) fn observe(_: &mut Settings) -> Result<Erased, SettingError> {
    Ok(Erased::new(Observe::new(AccessLog::new(io::stdout()))))
}
