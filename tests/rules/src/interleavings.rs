// SPDX-License-Identifier: GPL-2.0
//! Three threads on one buffer, in every order that a lock and a condition allow (loom): each does
//! what a call of the driver does, by the driver's own rules, waiting and waking.
//!
//! What is found: two that use a byte at the same time and must not, a store that is lost because its
//! line is invalidated, a device that has a byte whose store it does not see, somebody who is passed
//! by, and somebody who waits for ever (loom's deadlock).

use crate::rules::{
    access::{self, Access, Monitor},
    line_set::{LineSet, Member},
    ownership::{Hold, Ownership, Room, ViewId, WritesTo},
    range::Range,
    range_lock::{Mode, Request, Ticket},
};
use loom::{
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// Bytes of the buffer; lines have one.
const SIZE: usize = 3;

fn range(start: usize, end: usize) -> Range {
    Range::between(start, end)
}

/// What the importer has a view of.
fn view() -> Range {
    range(0, 2)
}

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// read(2) of the first two bytes.
    Read,
    /// The same, and a signal comes if it has to wait.
    ReadWithSignal,
    /// write(2) of the middle.
    Write,
    /// write(2) of the first two bytes, in pieces of one.
    WritePieces,
    /// SYNC START of the last two.
    Start,
    /// SYNC END of the last two.
    End,
    /// The same, and a signal comes if it has to wait.
    EndWithSignal,
    /// COPY from the first byte to the last.
    Copy,
    /// SET_CACHE.
    SetCache,
    /// An importer maps its view.
    Map,
    /// The importer unmaps it.
    Unmap,
}

const CALLS: [Call; 11] = [
    Call::Read,
    Call::ReadWithSignal,
    Call::Write,
    Call::WritePieces,
    Call::Start,
    Call::End,
    Call::EndWithSignal,
    Call::Copy,
    Call::SetCache,
    Call::Map,
    Call::Unmap,
];

/// How it begins.
#[derive(Clone, Copy, Debug)]
enum Beginning {
    /// The CPU has everything.
    Cpus,
    /// The buffer's own device has the last byte.
    OwnLent,
    /// The importer's device has its view.
    ViewLent,
}

const BEGINNINGS: [Beginning; 3] = [Beginning::Cpus, Beginning::OwnLent, Beginning::ViewLent];

struct State {
    access: Access,
    view: Option<ViewId>,
    /// Whether a store to the byte is in the cache alone.
    dirty: [bool; SIZE],
    /// Which calls use which bytes.
    users: BTreeMap<usize, Vec<Request>>,
    /// Which tickets wait for which.
    waiting: BTreeMap<u64, Vec<Request>>,
}

impl AsMut<Access> for State {
    fn as_mut(&mut self) -> &mut Access {
        &mut self.access
    }
}

impl State {
    fn new(beginning: Beginning) -> Self {
        let own = LineSet::new(SIZE, 1).expect("there is memory");
        let mut state = Self {
            access: Access::new(Ownership::new(Some(own), WritesTo::Memory)),
            view: None,
            dirty: [true; SIZE],
            users: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        match beginning {
            Beginning::Cpus => {}
            Beginning::OwnLent => {
                state.access.ownership.lend_own(range(2, 3));
                state.clean(range(2, 3));
            }
            Beginning::ViewLent => state.add_view(),
        }
        state
    }

    fn add_view(&mut self) {
        let room = Room::new(2).expect("there is memory");
        let id = self
            .access
            .add_view(view(), Hold::Lent, WritesTo::Memory, room);
        self.view = Some(id.expect("there is room"));
        self.clean(view());
    }

    fn clean(&mut self, range: Range) {
        self.dirty[range.start()..range.end()].fill(false);
    }

    fn invalidate(&mut self, range: Range) {
        let lines = &self.dirty[range.start()..range.end()];
        assert!(!lines.contains(&true), "a store is lost");
    }

    fn return_own(&mut self, range: Range) {
        let mut rest = Some(range);
        while let Some(part) = self.access.ownership.first_of_own(&mut rest, Member::Yes) {
            self.invalidate(part);
            self.access.ownership.return_own(part);
        }
    }

    fn lend_own(&mut self, range: Range) {
        let mut rest = Some(range);
        while let Some(part) = self.access.ownership.first_of_own(&mut rest, Member::No) {
            self.access.ownership.lend_own(part);
            self.clean(part);
        }
    }

    fn return_view(&mut self) {
        if let Some(id) = self.view {
            if self.access.ownership.hold(id) == Hold::Lent {
                self.invalidate(view());
                self.access.ownership.set_hold(id, Hold::Returned);
            }
        }
    }

    fn lend_view(&mut self) {
        if let Some(id) = self.view {
            self.access.ownership.set_hold(id, Hold::Lent);
            self.clean(view());
        }
    }

    /// No device has a byte whose store it does not see.
    fn check(&self) {
        for (at, dirty) in self.dirty.iter().enumerate() {
            let lent = self.access.ownership.is_lent(range(at, at + 1));
            assert!(!lent || !dirty, "a device does not see a store");
        }
    }
}

fn conflict(some: &[Request], others: &[Request]) -> bool {
    some.iter().any(|a| {
        others.iter().any(|b| {
            let together = a.mode == Mode::Shared && b.mode == Mode::Shared;
            a.range.intersect(b.range).is_some() && !together
        })
    })
}

/// What the threads share.
struct Shared {
    state: Mutex<State>,
    /// By the number of the thread that waits, so that nobody is woken by what is for another.
    woken: Vec<Condvar>,
    /// Which thread waits with which ticket. The lock of the state is held for it.
    waiting: std::sync::Mutex<BTreeMap<u64, usize>>,
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, usize>> {
        self.waiting.lock().expect("nobody panicked")
    }
}

/// The buffer, as one thread sees it.
struct Thread {
    number: usize,
    buffer: Arc<Shared>,
    has_signal: bool,
    /// Who waited already when this took its place.
    before: RefCell<Vec<u64>>,
    requests: RefCell<Vec<Request>>,
}

/// A guard that a wait can take and give back.
struct Guard<'a>(Option<MutexGuard<'a, State>>);

impl Deref for Guard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.0.as_deref().expect("only a wait takes it")
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_deref_mut().expect("only a wait takes it")
    }
}

impl Monitor for Thread {
    type State = State;
    type Guard<'a> = Guard<'a>;
    type EndedBy = ();

    fn lock(&self) -> Guard<'_> {
        let guard = self.buffer.state.lock().expect("nobody panicked");
        *self.before.borrow_mut() = guard.waiting.keys().copied().collect();
        Guard(Some(guard))
    }

    fn wait<'a>(&'a self, mut guard: Guard<'a>, ticket: Ticket, _: ()) -> (Guard<'a>, bool) {
        if self.has_signal {
            return (guard, true);
        }
        let requests = self.requests.borrow().clone();
        guard.waiting.insert(ticket.number(), requests);
        self.buffer.waiting().insert(ticket.number(), self.number);
        let taken = guard.0.take().expect("it is held");
        let woken = self.buffer.woken[self.number].wait(taken);
        guard.0 = Some(woken.expect("nobody panicked"));
        self.buffer.waiting().remove(&ticket.number());
        (guard, false)
    }

    fn wake(&self, ticket: Ticket) {
        if let Some(&number) = self.buffer.waiting().get(&ticket.number()) {
            self.buffer.woken[number].notify_one();
        }
    }
}

impl Thread {
    /// Does all of `steps`, one after the other, where all of `requests` are granted; none if a signal
    /// came first.
    fn with(&self, requests: &[Request], steps: &mut [&mut dyn FnMut(&mut State)]) {
        let Some(ticket) = self.enter(requests) else {
            return;
        };
        let (last, first) = steps.split_last_mut().expect("something is done");
        first.iter_mut().for_each(|step| step(&mut self.lock()));
        // One lock less to explore.
        let mut state = self.lock();
        last(&mut state);
        state.users.remove(&self.number);
        drop(state);
        access::leave(self, ticket);
    }

    fn enter(&self, requests: &[Request]) -> Option<Ticket> {
        *self.requests.borrow_mut() = requests.to_vec();
        let (ticket, mut state) = access::enter(self, requests, ()).ok()?;
        state.waiting.remove(&ticket.number());
        self.begin(&mut state, requests);
        Some(ticket)
    }

    /// All of `requests` are granted.
    fn begin(&self, state: &mut State, requests: &[Request]) {
        for (ticket, before) in &state.waiting {
            let earlier = self.before.borrow().contains(ticket);
            assert!(
                !(earlier && conflict(before, requests)),
                "somebody is passed by"
            );
        }
        state.users.remove(&self.number);
        for users in state.users.values() {
            assert!(!conflict(users, requests), "two use the same bytes");
        }
        state.users.insert(self.number, requests.to_vec());
    }

    /// Writes a byte after the other. Who is alone goes on without leaving.
    fn write_pieces(&self) {
        let mut ticket = None;
        for at in 0..2 {
            let piece = range(at, at + 1);
            let requests = [Request::exact(piece, Mode::Exclusive)];
            let mut state = self.lock();
            let goes_on = ticket.is_some() && state.access.go_on(piece);
            if goes_on {
                self.begin(&mut state, &requests);
            } else {
                state.users.remove(&self.number);
            }
            drop(state);
            if !goes_on {
                if let Some(ticket) = ticket {
                    access::leave(self, ticket);
                }
                ticket = self.enter(&requests);
            }
            let mut state = self.lock();
            if !state.access.ownership.is_lent(piece) {
                state.dirty[at] = true;
            }
        }
        self.lock().users.remove(&self.number);
        if let Some(ticket) = ticket {
            access::leave(self, ticket);
        }
    }

    /// Something that is refused for what is lent.
    fn owned(&self, requests: &[Request], f: impl Fn(&mut State)) {
        let mut step = |state: &mut State| {
            let lent = |it: &Request| state.access.ownership.is_lent(it.range);
            if !requests.iter().any(lent) {
                f(state);
            }
        };
        self.with(requests, &mut [&mut step]);
    }

    fn run(&self, call: Call) {
        let exact = Request::exact;
        match call {
            Call::Read | Call::ReadWithSignal => {
                self.owned(&[exact(range(0, 2), Mode::Shared)], |_| {});
            }
            Call::Write => self.owned(&[exact(range(1, 2), Mode::Exclusive)], |state| {
                state.dirty[1] = true;
            }),
            Call::WritePieces => self.write_pieces(),
            Call::Copy => {
                let from = exact(range(0, 1), Mode::Shared);
                let to = exact(range(2, 3), Mode::Exclusive);
                self.owned(&[from, to], |state| state.dirty[2] = true);
            }
            Call::SetCache => {
                self.owned(&[exact(range(0, SIZE), Mode::Exclusive)], |_| {});
            }
            Call::Start => self.with(
                &[Request::with_views(range(1, 3))],
                &mut [&mut |state| state.return_own(range(1, 3)), &mut |state| {
                    state.return_view()
                }],
            ),
            Call::End | Call::EndWithSignal => self.with(
                &[Request::with_views(range(1, 3))],
                &mut [&mut |state| state.lend_own(range(1, 3)), &mut |state| {
                    state.lend_view()
                }],
            ),
            Call::Map => {
                let mut map = |state: &mut State| {
                    // One importer is enough.
                    if state.view.is_none() {
                        state.add_view();
                    }
                };
                self.with(&[exact(view(), Mode::Exclusive)], &mut [&mut map]);
            }
            Call::Unmap => {
                let mut state = self.lock();
                state.return_view();
                if let Some(id) = state.view.take() {
                    state.access.ownership.remove_view(id);
                }
            }
        }
    }
}

fn explore<const N: usize>(beginning: Beginning, calls: [Call; N], preemptions: Option<usize>) {
    println!("{beginning:?}: {calls:?}");
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let buffer = Arc::new(Shared {
            state: Mutex::new(State::new(beginning)),
            woken: (0..N).map(|_| Condvar::new()).collect(),
            waiting: std::sync::Mutex::default(),
        });
        let thread = |number: usize, call: Call| Thread {
            number,
            buffer: buffer.clone(),
            has_signal: matches!(call, Call::ReadWithSignal | Call::EndWithSignal),
            before: RefCell::default(),
            requests: RefCell::default(),
        };
        let run = |number, call| {
            let thread = thread(number, call);
            thread::spawn(move || thread.run(call))
        };
        let others = (1..N).map(|number| run(number, calls[number]));
        let others: Vec<_> = others.collect();
        thread(0, calls[0]).run(calls[0]);
        for other in others {
            other.join().expect("it has not panicked");
        }
        let state = buffer.state.lock().expect("nobody panicked");
        state.check();
        assert!(state.users.is_empty() && state.waiting.is_empty());
    });
}

#[test]
fn two_calls_in_every_order() {
    for beginning in BEGINNINGS {
        for (at, &first) in CALLS.iter().enumerate() {
            for &second in &CALLS[at..] {
                explore(beginning, [first, second], None);
            }
        }
    }
}

/// In all orders in which a thread is interrupted at most twice where it could go on: all are too
/// many.
#[test]
fn three_calls_in_many_orders() {
    for beginning in BEGINNINGS {
        for (at, &first) in CALLS.iter().enumerate() {
            for (then, &second) in CALLS.iter().enumerate().skip(at) {
                for &third in &CALLS[then..] {
                    explore(beginning, [first, second, third], Some(2));
                }
            }
        }
    }
}
