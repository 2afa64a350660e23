package check

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// strongHistory is the part of an object's history that has to be linearizable: its writes, by whomever, and its strong
// reads. It is cut into windows at moments at which nothing is under way, and each window is judged by itself. (The bounds that
// reading.observe checks say the same, more simply, read by read; porcupine is the judge that isn't ours.)
type strongHistory struct {
	active  bool // there are strong readers
	under   int  // operations under way
	ops     []porcupine.Operation
	first   int64 // the version with which the window begins
	newest  int64 // the highest version in the window
	seen    int64 // the newest that a strong read has seen
	pending []ack // strong reads that raised seen
	long    bool  // the window has got too long: what comes until nothing is under way isn't given to porcupine
	judge   func(o *object, h []porcupine.Operation)
}

// window is how many operations are judged together, at least.
const window = 200

// windowMost is how many operations there are in one at most: where there is always something under way, it can't be cut.
const windowMost = 10 * window

// input of an operation on a register: a write makes version n of version n-1, a read sees version n.
type input struct {
	write bool
	n     int64
}

// versionsModel has the newest version's number as its state.
func versionsModel(first int64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return first },
		Step: func(state, in, _ any) (bool, any) {
			now, op := state.(int64), in.(input)
			if op.write {
				return op.n == now+1, op.n
			}
			return op.n == now, now
		},
		DescribeOperation: func(in, _ any) string {
			if op := in.(input); op.write {
				return fmt.Sprintf("write version %d", op.n)
			}
			return fmt.Sprintf("read version %d", in.(input).n)
		},
	}
}

func (h *strongHistory) begin() { h.under++ }

func (h *strongHistory) gone(o *object) {
	h.under--
	h.cut(o)
}

func (h *strongHistory) wrote(o *object, n int64, began, ended instant) {
	h.under--
	if h.active {
		h.add(input{true, n}, began, ended)
	} else {
		h.first, h.newest = max(h.first, n), max(h.newest, n)
	}
	h.cut(o)
}

// read takes a strong read.
func (h *strongHistory) read(o *object, r *reading) *Violation {
	if !r.burst {
		h.under--
	}
	for i := len(h.pending) - 1; i >= 0; i-- {
		if p := h.pending[i]; p.at < r.began {
			if r.n < p.n {
				return o.violationLocked(ruleLinearizable, fmt.Sprintf("read version %d; a strong read that was over %v before had already seen version %d", r.n, r.began-p.at, p.n))
			}
			break
		}
	}
	if r.n > h.seen {
		h.seen = r.n
		at := r.ended
		if k := len(h.pending); k > 0 {
			at = max(at, h.pending[k-1].at)
		}
		if h.pending = append(h.pending, ack{at, r.n}); len(h.pending) > 128 {
			h.pending = append(h.pending[:0], h.pending[64:]...)
		}
	}
	if !r.burst {
		h.add(input{false, r.n}, r.began, r.ended)
		h.cut(o)
	}
	return nil
}

func (h *strongHistory) add(in input, began, ended instant) {
	if h.long = h.long || len(h.ops) >= windowMost; h.long {
		h.ops = nil
	} else {
		h.ops = append(h.ops, porcupine.Operation{Input: in, Call: int64(began), Return: int64(ended)})
	}
	h.newest = max(h.newest, in.n)
}

// cut ends the window if it is long enough and nothing is under way.
func (h *strongHistory) cut(o *object) {
	switch {
	case h.under != 0:
	case h.long:
		h.long, h.first = false, h.newest
	case len(h.ops) >= window:
		h.flush(o)
	}
}

// flush judges the window. Versions whose writes were never acknowledged came about at some time in it.
func (h *strongHistory) flush(o *object) {
	if len(h.ops) == 0 {
		return
	}
	begin, end := h.ops[0].Call, h.ops[0].Return
	known := map[int64]bool{}
	for _, op := range h.ops {
		begin, end = min(begin, op.Call), max(end, op.Return)
		if in := op.Input.(input); in.write {
			known[in.n] = true
		}
	}
	for n := h.first + 1; n <= h.newest; n++ {
		if !known[n] {
			h.ops = append(h.ops, porcupine.Operation{Input: input{true, n}, Call: begin, Return: end})
		}
	}
	h.judge(o, append([]porcupine.Operation{{Input: input{false, h.first}, Call: begin - 2, Return: begin - 1}}, h.ops...))
	h.ops, h.first = nil, h.newest
}
