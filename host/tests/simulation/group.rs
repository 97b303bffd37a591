//! The group coordinator, and what each client believes of it: members, generations, who owns which partition. A client
//! learns of a change when it hears of it, and goes on as before until then.

use std::collections::BTreeSet;

use super::cluster::{Cluster, PARTITIONS};

/// A member without a sign of life is gone after this.
const SESSION_MS: u64 = 1_500;

/// One run of one process.
pub(crate) type ClientId = usize;

#[derive(Debug)]
pub(super) struct Group {
    generation: u32,
    members: BTreeSet<ClientId>,
    owners: Vec<Option<ClientId>>,
    /// To whom each partition goes, once its owner has given it up.
    wanted: Vec<Option<ClientId>>,
}

/// What a process knows.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(super) generation: u32,
    /// The assignment under which each partition is its own.
    pub(super) holds: Vec<Option<u64>>,
    heard_ms: u64,
    /// Stopped, as by SIGSTOP.
    pub(crate) paused: bool,
    /// Gone without goodbye.
    pub(crate) crashed: bool,
    /// Its heartbeats do not arrive.
    pub(crate) deaf: bool,
}

impl Client {
    const fn is_silent(&self) -> bool {
        self.paused || self.crashed || self.deaf
    }
}

impl Group {
    pub(super) fn new(partitions: u32) -> Self {
        let none = || vec![None; partitions as usize];
        Self {
            generation: 0,
            members: BTreeSet::new(),
            owners: none(),
            wanted: none(),
        }
    }

    pub(super) fn knows(&self, client: ClientId, generation: u32) -> bool {
        self.members.contains(&client) && self.generation == generation
    }

    /// Partitions of members that are gone go to others.
    fn share_out(&mut self) {
        let members: Vec<_> = self.members.iter().copied().collect();
        for (n, (owner, wanted)) in self.owners.iter_mut().zip(&mut self.wanted).enumerate() {
            let is_member = |c: &mut ClientId| self.members.contains(c);
            *owner = owner.take_if(is_member);
            *wanted = wanted.take_if(is_member);
            if wanted.is_none() && !members.is_empty() {
                *wanted = owner.or(Some(members[n % members.len()]));
            }
            *owner = owner.or(*wanted);
        }
        // A member without any gets one of another's several.
        for idle in members {
            let of =
                |member: Option<ClientId>| self.wanted.iter().filter(|w| **w == member).count();
            let several = |w: &Option<ClientId>| of(*w) > 1;
            if of(Some(idle)) == 0
                && let Some(at) = self.wanted.iter().position(several)
            {
                self.wanted[at] = Some(idle);
            }
        }
        self.generation += 1;
    }
}

impl Cluster {
    /// A new process.
    pub(crate) fn new_client(&mut self) -> ClientId {
        self.clients.push(Client {
            holds: vec![None; PARTITIONS as usize],
            heard_ms: self.now_ms,
            ..Client::default()
        });
        self.clients.len() - 1
    }

    pub(crate) fn client_mut(&mut self, client: ClientId) -> &mut Client {
        &mut self.clients[client]
    }

    /// The assignment under which a client believes to own a partition.
    pub(crate) fn hold(&self, client: ClientId, partition: u32) -> Option<u64> {
        self.clients[client].holds[partition as usize]
    }

    /// Whose a partition is, as the group sees it.
    pub(crate) fn owner(&self, partition: u32) -> Option<ClientId> {
        self.group.owners[partition as usize]
    }

    /// A client hears what the group has decided, and gives up what it is asked for once no step of it is in hand.
    pub(crate) fn hear(&mut self, client: ClientId) {
        if self.clients[client].is_silent() || self.is_down() {
            return;
        }
        if self.group.members.insert(client) {
            // New, or thought to be gone: whatever it had is no more its own.
            self.clients[client].holds.fill(None);
            self.group.share_out();
        }
        for partition in 0..PARTITIONS {
            let at = partition as usize;
            let owner = self.group.owners[at];
            let wanted = self.group.wanted[at];
            if owner != Some(client) || wanted != Some(client) {
                self.clients[client].holds[at] = None;
            }
            if owner == Some(client) && wanted != owner && !self.has_commit(client, partition) {
                self.group.owners[at] = wanted;
                self.group.generation += 1;
            }
        }
        let generation = self.group.generation;
        for partition in 0..PARTITIONS as usize {
            let ours = self.group.owners[partition] == Some(client)
                && self.group.wanted[partition] == Some(client);
            if ours && self.clients[client].holds[partition].is_none() {
                let hold = self.new_lease();
                self.clients[client].holds[partition] = Some(hold);
            }
        }
        self.clients[client].generation = generation;
        self.clients[client].heard_ms = self.now_ms;
    }

    /// A member says goodbye.
    pub(crate) fn leave(&mut self, client: ClientId) {
        self.clients[client].crashed = true;
        if self.group.members.remove(&client) {
            self.group.share_out();
        }
    }

    /// A partition is to go to a member.
    pub(crate) fn reassign(&mut self, partition: u32, to: ClientId) {
        if self.group.members.contains(&to) {
            self.group.wanted[partition as usize] = Some(to);
            self.group.generation += 1;
        }
    }

    pub(super) fn expire_sessions(&mut self) {
        let now_ms = self.now_ms;
        for client in self.clients.iter_mut().filter(|c| !c.is_silent()) {
            client.heard_ms = now_ms;
        }
        let clients = &self.clients;
        let before = self.group.members.len();
        self.group
            .members
            .retain(|&c| clients[c].heard_ms + SESSION_MS >= now_ms);
        if self.group.members.len() < before {
            self.group.share_out();
        }
    }
}
