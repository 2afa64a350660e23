package cache

// What stays when the room is spent: S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023),
// in bytes.
//
// An answer comes in through the *entrance*, a queue of a tenth of the room. What has been asked for again by the time that it
// gets to the end goes on to the *main* queue; the rest leaves, and only its hash is remembered for a while (departed). So a scan,
// which asks for each thing once, passes through the entrance and takes nothing away from the main queue. What comes back
// while it is remembered goes into the main queue at once. That is a queue, too: what has been used since it was last
// at the end goes round again, and owes one use for it.
//
// Why not a list in the order of use (LRU): a scan larger than the cache empties it. Why not golang-lru's twoqueue, or ARC:
// they count entries, and an answer is anything from 500 bytes to --cache-max-entry; and they move what is hit to the front of a list,
// where this counts one up, which is less to do under the lock. Why not TinyLFU (ristretto, otter): it weighs who comes against who would
// have to go, and so may refuse what comes; here an answer that was stored is there for whoever asks again soon, as those do who wait
// for its flight.
//
// Size decides nothing, and neither does what an answer has cost. Tried: of an answer much larger than the mean more uses are asked. With a
// tenth of the answers sixty times as large as the others that was worth one point of hit ratio; but those are mostly
// the ones for which a server has worked most.
//
// Stale answers go when they get to the end of a queue, however much they were used, because nobody can be given them (but when
// no server answers); what is remembered of them lets their refill into the main queue.

// node is an entry's place.
type node struct {
	entry      *Entry
	prev, next *node // towards the head, towards the end
	hash       uint64
	uses       uint8 // since it was last at the end; counted up to maxUses
	main       bool
}

const maxUses = 3

// sweep bounds how many go round again for one that comes in, so that nobody waits for long who holds the lock.
const sweep = 32

// queue is a list of nodes. New ones come to the head.
type queue struct {
	head, end *node
	bytes     int64
}

func (q *queue) push(n *node) {
	n.prev, n.next = nil, q.head
	if q.head != nil {
		q.head.prev = n
	} else {
		q.end = n
	}
	q.head = n
	q.bytes += n.entry.size()
}

func (q *queue) remove(n *node) {
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		q.head = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		q.end = n.prev
	}
	n.prev, n.next = nil, nil
	q.bytes -= n.entry.size()
}

// departed remembers the hashes of what has left: about as many as there are entries, the latest. A bucket of four, of which
// the oldest is forgotten, is one line of the processor's cache, and needs neither list nor map. The zero value remembers nothing.
type departed struct {
	buckets [][4]uint64
}

// departedSize is what an entry pays for it: there are fewer than four hashes for each (see fit), of eight bytes.
const departedSize = 32

// fit makes it as large as suits so many entries. What was remembered is kept, as far as there is room.
func (d *departed) fit(entries int) {
	want := 1
	for want*4 < entries {
		want *= 2
	}
	if have := len(d.buckets); have == want || have == 2*want {
		return // not at each change that crosses a power of two
	}
	old := d.buckets
	d.buckets = make([][4]uint64, want)
	for i := range old {
		for j := len(old[i]) - 1; j >= 0; j-- {
			d.add(old[i][j])
		}
	}
}

func (d *departed) bucket(hash uint64) *[4]uint64 {
	// The top bits have chosen the part already.
	return &d.buckets[hash&uint64(len(d.buckets)-1)]
}

func (d *departed) add(hash uint64) {
	if hash == 0 || len(d.buckets) == 0 {
		return
	}
	b := d.bucket(hash)
	b[3], b[2], b[1], b[0] = b[2], b[1], b[0], hash
}

// take says whether the hash is remembered, and forgets it.
func (d *departed) take(hash uint64) bool {
	if hash == 0 || len(d.buckets) == 0 {
		return false
	}
	b := d.bucket(hash)
	for i := range b {
		if b[i] == hash {
			copy(b[i:], b[i+1:])
			b[3] = 0
			return true
		}
	}
	return false
}
