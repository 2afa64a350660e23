package feed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/consistency/rule"
)

// The parts of Insert, Update and Delete, and how values are in a tuple (protocol manual, "TupleData").
const (
	tupleNew = 'N'
	tupleKey = 'K' // the old values of the replica identity; NULL stands for all others
	tupleOld = 'O' // all old values

	valueNull      = 'n'
	valueUnchanged = 'u' // TOASTed, and as it was
	valueText      = 't'
	valueBinary    = 'b' // isn't asked for
)

// value is a value in a tuple. The bytes are those of the message.
type value struct {
	how  byte
	text []byte
}

type tuple []value

// read takes a tuple off a message, and returns what follows it.
func (t *tuple) read(b []byte) (rest []byte, err error) {
	if len(b) < 2 {
		return nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	values := (*t)[:0]
	for range n {
		if len(b) < 1 {
			return nil, errShort
		}
		v := value{how: b[0]}
		b = b[1:]
		switch v.how {
		case valueNull, valueUnchanged:
		case valueText, valueBinary:
			if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
				return nil, errShort
			}
			size := int(binary.BigEndian.Uint32(b))
			v.text, b = b[4:4+size], b[4+size:]
		default:
			return nil, fmt.Errorf("pgoutput: a value of unknown kind %q", v.how)
		}
		values = append(values, v)
	}
	*t = values
	return b, nil
}

// rows takes the tuples of a change, and has the commit stamp the cells of the rows that it is about: of an inserted row, of a deleted
// one, and of an updated one both as it was and as it is.
func (d *decoder) rows(r *relation, kind byte, b []byte) error {
	if r.altered {
		r.altered = false
		d.blind(r)
	}
	if !r.looked {
		return nil
	}
	var err error
	how := byte(0) // of the old tuple
	if kind != messageInsert && len(b) > 0 && (b[0] == tupleKey || b[0] == tupleOld) {
		how = b[0]
		if b, err = d.old.read(b[1:]); err != nil {
			return err
		}
	}
	if kind != messageDelete {
		if len(b) == 0 || b[0] != tupleNew {
			return errors.New("pgoutput: a change without a new tuple")
		}
		if b, err = d.new.read(b[1:]); err != nil {
			return err
		}
	} else if how == 0 {
		return errors.New("pgoutput: a DELETE without an old tuple")
	}
	if len(b) > 0 {
		return errors.New("pgoutput: a change with more than its tuples")
	}
	if how != 0 && len(d.old) != len(r.columns) || kind != messageDelete && len(d.new) != len(r.columns) {
		d.blind(r) // it isn't what was described
		return nil
	}
	looked := false
	for i := range r.plans {
		s := &d.commit.Stamps[r.first+i]
		if !s.Whole {
			d.row(r, &r.plans[i], s, kind, how)
			looked = looked || !s.Whole
		}
	}
	r.looked = looked
	return nil
}

// row stamps the cells of one column set.
func (d *decoder) row(r *relation, p *setPlan, s *consistency.Stamp, kind, how byte) {
	if !rule.RowStamp {
		return
	}
	// Whether the old values of the columns are in the old tuple.
	told := how == tupleOld || how == tupleKey && p.key
	if kind != messageInsert && rule.RowOld {
		switch {
		case told:
			d.stamp(s, p, d.old, nil)
		case how == 0 && p.key && r.identity != 'f':
			// An UPDATE that leaves the replica identity as it is comes without an old tuple. (ExtractReplicaIdentity, heapam.c: the old
			// key is logged if one of its columns was modified, or is stored apart.)
		default:
			d.wholeSet(s)
			return
		}
	}
	if kind != messageDelete {
		var old tuple
		if told {
			old = d.old
		}
		d.stamp(s, p, d.new, old)
	}
}

// stamp stamps the cell of a row. old, if not nil, is what the values are of which the tuple says that they are as they were.
func (d *decoder) stamp(s *consistency.Stamp, p *setPlan, t, old tuple) {
	var h consistency.RowHash
	known := true
	for i, at := range p.at {
		v := t[at]
		if v.how == valueUnchanged && old != nil {
			v = old[at]
		}
		switch v.how {
		case valueNull:
			return // nothing is equal to it, so no answer depends on such a row
		case valueText:
			var ok bool
			h, ok = h.Text(s.Set.Columns()[i].Kind, v.text)
			known = known && ok
		default:
			known = false
		}
	}
	if !known {
		d.wholeSet(s)
		return
	}
	cell := s.Set.Index(h)
	if n := len(s.Cells); n > 0 && s.Cells[n-1] == cell {
		return
	}
	s.Cells = append(s.Cells, cell)
	d.stamps++
	if len(s.Cells) > s.Set.Len()/2 {
		d.condense(s)
	}
	if d.stamps > maxStamps {
		d.limit()
	}
}

// maxStamps bounds the stamps of one transaction, and with them its memory and how long the version table is locked.
const maxStamps = 1 << 16

// condense drops what a set's stamps have twice. If they stay many, most cells would be stamped one by one: then all are together.
func (d *decoder) condense(s *consistency.Stamp) {
	d.large = true
	before := len(s.Cells)
	slices.Sort(s.Cells)
	s.Cells = slices.Compact(s.Cells)
	d.stamps -= before - len(s.Cells)
	if len(s.Cells) > s.Set.Len()/4 {
		d.wholeSet(s)
	}
}

// limit has the sets with the most stamps stamped whole, if there are too many in all.
func (d *decoder) limit() {
	for i := range d.commit.Stamps {
		d.condense(&d.commit.Stamps[i])
	}
	for d.stamps > maxStamps/2 {
		most := &d.commit.Stamps[0]
		for i := range d.commit.Stamps {
			if s := &d.commit.Stamps[i]; len(s.Cells) > len(most.Cells) {
				most = s
			}
		}
		d.wholeSet(most)
	}
}

// wholeSet has all rows stamped.
func (d *decoder) wholeSet(s *consistency.Stamp) {
	d.stamps -= len(s.Cells)
	s.Whole, s.Cells = true, s.Cells[:0]
}
