//! Which proxies are known, for the control plane after this one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::known::{Store, keep, recall};
use crate::manual::Manual;
use crate::{Clock, FleetHandle, Metrics, new};
use fleet::Known;
use fleet::testing::{mk_proxy, mk_settings};

#[tokio::test(start_paused = true)]
async fn what_was_kept_is_recalled() {
    let written = mk_known(&["a", "b"]).await.encode(1_000);
    let cases = [
        (Ok(None), Known::default(), "nothing was ever written"),
        (Ok(Some(written)), mk_known(&["a", "b"]).await, "must be known"),
        (Ok(Some("{".to_owned())), Known::unreadable(), "there may be one"),
        (Err("no disk".to_owned()), Known::unreadable(), "there may be one"),
    ];
    for (stands, known, why) in cases {
        let fleet = mk_fleet();
        let disk = Disk::default();
        disk.0.lock().unwrap().stands = stands;
        recall(&disk, &fleet).await.unwrap();
        assert_eq!(fleet.known().await.unwrap(), known, "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_known_is_written_when_it_changes_and_not_more_often_than_once_a_second() {
    let (fleet, disk, end) = (mk_fleet(), Disk::default(), CancellationToken::new());
    let task = tokio::spawn(keep(disk.clone(), fleet.clone(), Metrics::default(), end.clone()));
    pass(10_000).await;
    assert_eq!(
        disk.writes(),
        [Known::default()],
        "what stands there may be unreadable"
    );
    speak(&fleet, "a").await;
    pass(1).await;
    assert_eq!(disk.writes().last(), Some(&mk_known(&["a"]).await), "at once");
    for name in ["b", "c"] {
        speak(&fleet, name).await;
        pass(1).await;
    }
    assert_eq!(disk.writes().len(), 2, "must be a second apart");
    pass(1_000).await;
    let all = mk_known(&["a", "b", "c"]).await;
    assert_eq!(disk.writes()[2..], [all], "must be written once for both");
    speak(&fleet, "a").await;
    pass(10_000).await;
    assert_eq!(disk.writes().len(), 3, "the same are known");
    end.cancel();
    task.await.unwrap();
    assert_eq!(disk.writes().len(), 3, "the same are known");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_tried_again_ever_more_slowly() {
    let (fleet, disk, end) = (mk_fleet(), Disk::default(), CancellationToken::new());
    disk.0.lock().unwrap().is_full = true;
    let task = tokio::spawn(keep(disk.clone(), fleet.clone(), Metrics::default(), end.clone()));
    let tries = async |ms| {
        pass(ms).await;
        disk.0.lock().unwrap().tries
    };
    assert_eq!(tries(500).await, 1);
    assert_eq!(tries(1_000).await, 2, "after one second");
    assert_eq!(tries(1_000).await, 2);
    assert_eq!(tries(1_000).await, 3, "after two more");
    disk.0.lock().unwrap().is_full = false;
    assert_eq!(tries(4_000).await, 4, "after four more");
    assert_eq!(disk.writes().len(), 1, "must be written in the end");
    speak(&fleet, "a").await;
    assert_eq!(tries(1_500).await, 5, "must begin anew");
    end.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_comes_at_the_very_end_is_written_all_the_same() {
    for n in 0..20 {
        let (fleet, disk, end) = (mk_fleet(), Disk::default(), CancellationToken::new());
        let task = tokio::spawn(keep(disk.clone(), fleet.clone(), Metrics::default(), end.clone()));
        pass(10_000).await;
        // In a task like the others, so that the end is there when the change is noticed.
        let ends = async move {
            speak(&fleet, "late").await;
            end.cancel();
        };
        tokio::spawn(ends).await.unwrap();
        task.await.unwrap();
        let known = disk.writes().pop();
        assert_eq!(
            known,
            Some(mk_known(&["late"]).await),
            "must be waited for: try {n}"
        );
    }
}

/// A store whose disk may be full.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<State>>);

struct State {
    stands: Result<Option<String>, String>,
    writes: Vec<String>,
    tries: usize,
    is_full: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            stands: Ok(None),
            writes: Vec::new(),
            tries: 0,
            is_full: false,
        }
    }
}

impl Disk {
    fn writes(&self) -> Vec<Known> {
        let writes = &self.0.lock().unwrap().writes;
        writes.iter().map(|text| Known::decode(text).unwrap()).collect()
    }
}

impl Store for Disk {
    fn place(&self) -> String {
        "a disk".to_owned()
    }

    fn max_bytes(&self) -> usize {
        1_000
    }

    async fn read(&self) -> Result<Option<String>, String> {
        self.0.lock().unwrap().stands.clone()
    }

    async fn write(&self, text: String) -> Result<(), String> {
        let mut state = self.0.lock().unwrap();
        state.tries += 1;
        if state.is_full {
            return Err("it is full".to_owned());
        }
        state.writes.push(text);
        Ok(())
    }
}

fn mk_fleet() -> FleetHandle {
    let (fleet, actor) = new(
        mk_settings(),
        Clock::start(),
        Metrics::default(),
        |_| Manual::default(),
        CancellationToken::new(),
    );
    tokio::spawn(actor);
    fleet
}

async fn mk_known(names: &[&str]) -> Known {
    let fleet = mk_fleet();
    for name in names {
        speak(&fleet, name).await;
    }
    fleet.known().await.unwrap()
}

async fn speak(fleet: &FleetHandle, name: &str) {
    drop(fleet.open_poll(mk_proxy(name), None).await.unwrap().unwrap());
}

/// Lets time pass, and everything that is due be done.
async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
