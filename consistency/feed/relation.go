package feed

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/freshet/freshet/consistency"
)

// relation is a relation as the stream describes it: by a Relation message before its first change, and by another one
// whenever something about it may have changed (it was altered, analysed, or the publication was).
type relation struct {
	oid      uint32
	message  []byte // the last description
	columns  []column
	identity byte // pg_class.relreplident; f: old tuples are whole

	sets  []*consistency.RowCells // for which plans are made
	plans []setPlan

	// Of the transaction with this number (0: none), in which it is changed.
	number  uint64
	index   int  // in commit.Relations
	first   int  // the stamps for sets begin there in commit.Stamps
	looked  bool // tuples are looked into: else, it isn't or needn't be known which rows are changed
	altered bool // it was described anew, and the next transaction that changes it is to stamp all of it
}

// column is a column as it is in tuples. Generated columns aren't, nor are those that a publication's column list leaves out.
type column struct {
	name string
	key  bool // of the replica identity. (What its index only INCLUDEs isn't, and isn't in old tuples either.)
}

// setPlan says where the values of a column set are in tuples.
type setPlan struct {
	at  []int // by the set's columns; nil: not all of them are in tuples
	key bool  // all are of the replica identity, so that their old values are known
}

// describe takes a Relation message: OID, namespace, name, replica identity, number of columns, and for each flags, name, type
// and typmod.
func (d *decoder) describe(body []byte) error {
	if len(body) < 4 {
		return errShort
	}
	r := d.relation(binary.BigEndian.Uint32(body))
	if bytes.Equal(r.message, body) {
		return nil
	}
	_, rest, _ := bytes.Cut(body[4:], []byte{0})
	_, rest, ok := bytes.Cut(rest, []byte{0})
	if !ok || len(rest) < 3 {
		return errShort
	}
	identity, n := rest[0], int(binary.BigEndian.Uint16(rest[1:]))
	rest = rest[3:]
	columns := make([]column, 0, n)
	for range n {
		if len(rest) < 1 {
			return errShort
		}
		name, tail, ok := bytes.Cut(rest[1:], []byte{0})
		if !ok || len(tail) < 8 {
			return errShort
		}
		columns = append(columns, column{string(name), rest[0]&1 != 0})
		rest = tail[8:]
	}
	if r.message != nil {
		// What an answer depended on by the name of a column may be in another column now.
		r.altered = true
		if d.open && r.number == d.number {
			d.blind(r)
		}
	}
	r.message, r.columns, r.identity = bytes.Clone(body), columns, identity
	r.sets, r.plans = nil, nil
	return nil
}

// plan finds the column sets that a change of the relation concerns from now on. It is asked at the first change in a transaction: those
// that come later are none that the transaction tells anything about.
func (r *relation) plan(table *consistency.Table) {
	if table == nil {
		return
	}
	sets := table.Relation(r.oid).Sets()
	if slices.Equal(sets, r.sets) {
		return
	}
	r.sets, r.plans = sets, r.plans[:0]
	for _, s := range sets {
		r.plans = append(r.plans, r.planSet(s))
	}
}

func (r *relation) planSet(s *consistency.RowCells) setPlan {
	p := setPlan{key: true}
	at := make([]int, 0, len(s.Columns()))
	for _, c := range s.Columns() {
		i := slices.IndexFunc(r.columns, func(o column) bool { return o.name == c.Name })
		if i < 0 {
			return setPlan{}
		}
		at = append(at, i)
		p.key = p.key && r.columns[i].key
	}
	p.at = at
	return p
}
