package feed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/freshet/freshet/consistency"
)

// The messages of pgoutput, protocol version 1, by the names of the protocol manual ("Logical Replication Message
// Formats").
const (
	messageBegin    = 'B'
	messageCommit   = 'C'
	messageOrigin   = 'O'
	messageRelation = 'R'
	messageType     = 'Y'
	messageInsert   = 'I'
	messageUpdate   = 'U'
	messageDelete   = 'D'
	messageTruncate = 'T'
	messageLogical  = 'M' // pg_logical_emit_message
)

// Prefixes of the transactional logical messages (pg_logical_emit_message) that the event triggers of freshet setup send.
const (
	// CatalogMessage says that the transaction changed something that every cached answer depends on.
	CatalogMessage = "freshet.catalog"
	// RelationMessage says that it changed the relation whose OID is its content: a materialized view was refreshed.
	RelationMessage = "freshet.relation"
	// PublicationMessage says that it changed a publication, so that changes may be left out from now on.
	PublicationMessage = "freshet.publication"
)

var errShort = errors.New("pgoutput message is too short")

// decoder turns the messages of the stream into commits. It keeps what a transaction has changed until its commit comes;
// without streaming of transactions in progress there is one at a time, and only those that committed.
type decoder struct {
	table     *consistency.Table
	relations map[uint32]*relation // of which there was a message in this stream
	last      *relation            // the one changed last, as in a long COPY

	open        bool // between Begin and Commit
	publication bool // the transaction has changed a publication
	number      uint64
	commit      consistency.Commit
	stamps      int  // cells in commit.Stamps
	large       bool // they were, or are, many

	old, new tuple // scratch
}

func newDecoder(table *consistency.Table) decoder {
	return decoder{table: table, relations: map[uint32]*relation{}}
}

// message takes one message. When it was a Commit it returns the transaction, which is the decoder's and valid until the
// next call; otherwise nil.
func (d *decoder) message(m []byte) (*consistency.Commit, error) {
	if len(m) == 0 {
		return nil, errShort
	}
	body := m[1:]
	switch m[0] {
	case messageBegin: // final LSN, commit time, xid
		if len(body) < 20 {
			return nil, errShort
		}
		if d.open {
			return nil, errors.New("pgoutput: a transaction begins within another")
		}
		d.open = true
		d.number++
		d.reset()
		d.publication = false
		d.commit.XID = binary.BigEndian.Uint32(body[16:])
	case messageCommit: // flags, LSN of the commit, end LSN of the transaction, commit time
		if len(body) < 25 {
			return nil, errShort
		}
		if !d.open {
			return nil, errors.New("pgoutput: a commit without a transaction")
		}
		d.open = false
		d.commit.End = consistency.LSN(binary.BigEndian.Uint64(body[9:]))
		return &d.commit, nil
	case messageInsert, messageUpdate, messageDelete: // relation, tuples
		if len(body) < 4 {
			return nil, errShort
		}
		r, err := d.changed(binary.BigEndian.Uint32(body))
		if err != nil {
			return nil, err
		}
		return nil, d.rows(r, m[0], body[4:])
	case messageTruncate: // number of relations, options, relations
		if len(body) < 5 {
			return nil, errShort
		}
		n, list := int(binary.BigEndian.Uint32(body)), body[5:]
		if len(list) != 4*n {
			return nil, errShort
		}
		for ; len(list) > 0; list = list[4:] {
			if err := d.whole(binary.BigEndian.Uint32(list)); err != nil {
				return nil, err
			}
		}
	case messageLogical: // flags, LSN, prefix and a zero, length, content
		return nil, d.logical(body)
	case messageRelation:
		return nil, d.describe(body)
	case messageType, messageOrigin:
	default:
		// Its meaning is unknown, so it could be a change.
		return nil, fmt.Errorf("pgoutput message of unknown type %q", m[0])
	}
	return nil, nil
}

// logical takes a message that somebody has put in the stream.
func (d *decoder) logical(body []byte) error {
	if len(body) < 9 {
		return errShort
	}
	if !d.open {
		return nil // without a transaction around it, it isn't transactional, so not one of ours
	}
	prefix, rest, ok := bytes.Cut(body[9:], []byte{0})
	if !ok || len(rest) < 4 || int(binary.BigEndian.Uint32(rest)) != len(rest)-4 {
		return errShort
	}
	switch string(prefix) {
	case CatalogMessage:
		d.commit.Catalog = true
	case PublicationMessage:
		d.publication = true
	case RelationMessage:
		oid, err := strconv.ParseUint(string(rest[4:]), 10, 32)
		if err != nil {
			d.commit.Catalog = true // whatever it means, that is enough
			return nil
		}
		return d.whole(uint32(oid))
	}
	return nil
}

// keptStamps is how many stamps' memory is kept for the next transaction.
const keptStamps = 1 << 10

// reset empties the commit, and keeps its memory unless a large transaction has made it large.
func (d *decoder) reset() {
	c := &d.commit
	if d.large || d.stamps > keptStamps || len(c.Stamps) > keptStamps || len(c.Relations) > keptStamps {
		*c = consistency.Commit{}
	}
	*c = consistency.Commit{Relations: c.Relations[:0], Told: c.Told[:0], Stamps: c.Stamps[:0]}
	d.stamps, d.large = 0, false
}

// relation finds what is known of a relation, which is nothing where no message has described it: then nothing can be told of its
// rows.
func (d *decoder) relation(oid uint32) *relation {
	if d.last != nil && d.last.oid == oid {
		return d.last
	}
	r := d.relations[oid]
	if r == nil {
		r = &relation{oid: oid}
		d.relations[oid] = r
	}
	d.last = r
	return r
}

// changed notes that the transaction changes a relation.
func (d *decoder) changed(oid uint32) (*relation, error) {
	if !d.open {
		return nil, errors.New("pgoutput: a change outside of a transaction")
	}
	r := d.relation(oid)
	if r.number == d.number {
		return r, nil
	}
	r.number, r.index, r.first = d.number, len(d.commit.Relations), len(d.commit.Stamps)
	r.plan(d.table)
	d.commit.Relations = append(d.commit.Relations, oid)
	d.commit.Told = append(d.commit.Told, r.sets)
	for i, s := range r.sets {
		d.addStamp(s, r.plans[i].at == nil)
	}
	r.looked = len(r.sets) > 0
	return r, nil
}

// addStamp makes room for what the transaction changes of a column set, with the memory that an earlier one had for it.
func (d *decoder) addStamp(s *consistency.RowCells, whole bool) {
	list := d.commit.Stamps
	var cells []uint32
	if n := len(list); n < cap(list) {
		cells = list[:n+1][n].Cells[:0]
	}
	d.commit.Stamps = append(list, consistency.Stamp{Set: s, Whole: whole, Cells: cells})
}

// whole notes that the transaction changes a relation, and that it isn't known which of its rows.
func (d *decoder) whole(oid uint32) error {
	r, err := d.changed(oid)
	if err != nil {
		return err
	}
	d.blind(r)
	return nil
}

// blind has the commit stamp all rows of a relation, by telling nothing about any of its column sets.
func (d *decoder) blind(r *relation) {
	d.commit.Told[r.index] = nil
	r.looked = false
}
