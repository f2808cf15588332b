//! The data file that `bench/kvindex/data.ts` writes; its layout is described there.
use dynamo_kv_router::protocols::{
    ExternalSequenceBlockHash, KvCacheEvent, KvCacheEventData, KvCacheRemoveData, KvCacheStoreData,
    KvCacheStoredBlockData, LocalBlockHash, RouterEvent, WorkerWithDpRank,
};

const HEADER: usize = 32;
const MAGIC: u32 = 0x4b56_4931;
pub const QUERY_SETS: usize = 4;

/// One change of a worker: `count` blocks from `offset` of the column of nodes.
#[derive(Clone, Copy)]
pub struct Change {
    pub worker: u32,
    pub offset: u32,
    pub count: u32,
    pub has_parent: bool,
}

pub struct Query {
    pub hashes: Vec<LocalBlockHash>,
    pub owner: WorkerWithDpRank,
}

pub struct Data {
    words: Vec<u32>,
    sections: [usize; 7 + QUERY_SETS],
    pub entries: u32,
}

const NODES: usize = 2;
pub const STORES: usize = 3;
pub const REMOVALS: usize = 4;
pub const MIXED_STORES: usize = 5;
pub const MIXED_REMOVALS: usize = 6;

impl Data {
    pub fn read(path: &str) -> Self {
        let bytes = std::fs::read(path).expect("the data file can be read");
        let words: Vec<u32> =
            bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
        assert_eq!(words[0], MAGIC, "not a data file of this benchmark");
        let hashes = 2 * words[1] as usize;
        let mut sizes = vec![hashes, hashes, words[2] as usize];
        sizes.extend((3..7).map(|i| 4 * words[i] as usize));
        sizes.extend((0..QUERY_SETS).map(|set| 3 * words[10 + 3 * set] as usize));
        let mut sections = [0; 7 + QUERY_SETS];
        let mut at = HEADER;
        for (section, size) in sections.iter_mut().zip(sizes) {
            *section = at;
            at += size;
        }
        assert_eq!(at, words.len(), "the data file has the length that its header says");
        let entries = words[7];
        Self { words, sections, entries }
    }

    fn hash(&self, section: usize, node: u32) -> u64 {
        let at = self.sections[section] + 2 * node as usize;
        u64::from(self.words[at]) | u64::from(self.words[at + 1]) << 32
    }

    fn local(&self, node: u32) -> LocalBlockHash {
        LocalBlockHash(self.hash(0, node))
    }

    fn sequence(&self, node: u32) -> ExternalSequenceBlockHash {
        ExternalSequenceBlockHash(self.hash(1, node))
    }

    fn node(&self, offset: u32) -> u32 {
        self.words[self.sections[NODES] + offset as usize]
    }

    pub fn change_count(&self, section: usize) -> usize {
        self.words[section] as usize
    }

    pub fn change(&self, section: usize, i: usize) -> Change {
        let at = self.sections[section] + 4 * i;
        let words = &self.words[at..at + 4];
        Change { worker: words[0], offset: words[1], count: words[2], has_parent: words[3] != 0 }
    }

    /// Blocks of a change in chain order.
    pub fn stored(&self, change: Change, id: u64) -> RouterEvent {
        let blocks = (change.offset..change.offset + change.count)
            .map(|offset| {
                let node = self.node(offset);
                KvCacheStoredBlockData {
                    block_hash: self.sequence(node),
                    tokens_hash: self.local(node),
                    mm_extra_info: None,
                }
            })
            .collect();
        let parent_hash = change.has_parent.then(|| self.sequence(self.node(change.offset - 1)));
        let data = KvCacheStoreData { parent_hash, start_position: None, blocks };
        event(change.worker, id, KvCacheEventData::Stored(data))
    }

    /// Blocks of a change from its last to its first.
    pub fn removed(&self, change: Change, id: u64) -> RouterEvent {
        let block_hashes = (change.offset..change.offset + change.count)
            .rev()
            .map(|offset| self.sequence(self.node(offset)))
            .collect();
        event(change.worker, id, KvCacheEventData::Removed(KvCacheRemoveData { block_hashes }))
    }

    pub fn queries(&self, set: usize) -> Vec<Query> {
        let [count, length, depth] = [10, 11, 12].map(|i| self.words[i + 3 * set]);
        (0..count as usize)
            .map(|i| {
                let at = self.sections[7 + set] + 3 * i;
                let [offset, worker, misses] = [0, 1, 2].map(|j| self.words[at + j]);
                let stored = (offset..offset + depth).map(|offset| self.local(self.node(offset)));
                let unknown = (misses..misses + length - depth).map(|node| self.local(node));
                Query { hashes: stored.chain(unknown).collect(), owner: worker_of(worker) }
            })
            .collect()
    }

    pub fn depth(&self, set: usize) -> u32 {
        self.words[12 + 3 * set]
    }
}

fn worker_of(worker: u32) -> WorkerWithDpRank {
    WorkerWithDpRank::new(u64::from(worker), 0)
}

fn event(worker: u32, event_id: u64, data: KvCacheEventData) -> RouterEvent {
    RouterEvent::new(u64::from(worker), KvCacheEvent { event_id, data, dp_rank: 0 })
}
