package shard

// buffers lends out buffers of a loop's connections, so that only connections with unsent bytes hold one.
type buffers struct {
	free [classes][][]byte
	kept int // bytes in free
}

const (
	classes   = 5       // 1, 4, 16, 64, 256 KiB
	smallest  = 1 << 10 // bytes in class 0
	largest   = smallest << (2 * (classes - 1))
	keepAtEnd = 4 << 20 // most bytes that a loop keeps for later
)

// get returns an empty buffer with room for n bytes. Beyond the largest class they are made to measure.
func (b *buffers) get(n int) []byte {
	if n > largest {
		return make([]byte, 0, n)
	}
	class, size := 0, smallest
	for size < n {
		class, size = class+1, size<<2
	}
	free := b.free[class]
	if len(free) == 0 {
		return make([]byte, 0, size)
	}
	p := free[len(free)-1]
	free[len(free)-1] = nil
	b.free[class] = free[:len(free)-1]
	b.kept -= size
	return p
}

// put takes a buffer back. It must not be used any more.
func (b *buffers) put(p []byte) {
	if b.kept+cap(p) > keepAtEnd {
		return
	}
	for class, size := 0, smallest; class < classes; class, size = class+1, size<<2 {
		if cap(p) == size {
			b.free[class] = append(b.free[class], p[:0])
			b.kept += size
			return
		}
	}
}
