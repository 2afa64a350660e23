package feed

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/jackc/pglogrepl"

	"github.com/freshet/freshet/consistency"
)

// The builders follow the protocol manual, "Logical Replication Message Formats".

func begin(xid uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte{'B'}, make([]byte, 16)...), xid)
}

func commit(end consistency.LSN) []byte {
	return append(binary.BigEndian.AppendUint64(append([]byte{'C'}, make([]byte, 9)...), uint64(end)), make([]byte, 8)...)
}

func change(kind byte, oid uint32) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, oid), 'N', 0, 1, 'n')
}

func truncate(oids ...uint32) []byte {
	m := append(binary.BigEndian.AppendUint32([]byte{'T'}, uint32(len(oids))), 0)
	for _, oid := range oids {
		m = binary.BigEndian.AppendUint32(m, oid)
	}
	return m
}

func decode(t testing.TB, d *decoder, messages ...[]byte) *consistency.Commit {
	t.Helper()
	var done *consistency.Commit
	for _, m := range messages {
		if done != nil {
			t.Fatal("a commit comes early")
		}
		var err error
		if done, err = d.message(m); err != nil {
			t.Fatal(err)
		}
	}
	return done
}

func TestDecoderCollectsWhatATransactionChanged(t *testing.T) {
	d := newDecoder(nil)
	c := decode(t, &d, begin(7), change('I', 1), change('I', 1), change('U', 2), change('I', 1), change('D', 3), truncate(4, 2), commit(99))
	if c == nil || c.XID != 7 || c.End != 99 || !slices.Equal(c.Relations, []uint32{1, 2, 3, 4}) || c.Catalog {
		t.Fatalf("%+v", c)
	}
	c = decode(t, &d, begin(8), commit(100))
	if c == nil || c.XID != 8 || c.End != 100 || len(c.Relations) != 0 {
		t.Fatalf("the next transaction has the last one's changes: %+v", c)
	}
}

func TestDecoderNamesEachRelationOnceHoweverMany(t *testing.T) {
	d := newDecoder(nil)
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 15, 16, 17, 1000, 3} {
		messages := [][]byte{begin(1)}
		for i := range n {
			messages = append(messages, change('I', uint32(i)))
		}
		for range 3 * n {
			messages = append(messages, change('U', uint32(random.IntN(n))))
		}
		c := decode(t, &d, append(messages, commit(1))...)
		slices.Sort(c.Relations)
		if len(c.Relations) != n || c.Relations[n-1] != uint32(n-1) || len(slices.Compact(c.Relations)) != n {
			t.Fatalf("%d relations for %d", len(c.Relations), n)
		}
	}
}

func TestDecoderRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for name, messages := range map[string][][]byte{
		"an empty message":           {{}},
		"an unknown message":         {begin(1), {'S'}},
		"a change outside":           {change('I', 1)},
		"a TRUNCATE outside":         {truncate(1)},
		"a commit outside":           {commit(1)},
		"a transaction within one":   {begin(1), begin(2)},
		"a short begin":              {begin(1)[:20]},
		"a short commit":             {begin(1), commit(1)[:25]},
		"a short change":             {begin(1), change('I', 1)[:4]},
		"a short TRUNCATE":           {begin(1), truncate(1, 2)[:13]},
		"a TRUNCATE of 2^30 tables":  {begin(1), {'T', 0x40, 0, 0, 0, 0}},
		"a TRUNCATE with more bytes": {begin(1), append(truncate(1), 0)},
	} {
		d := newDecoder(nil)
		var err error
		for _, m := range messages {
			_, err = d.message(m)
		}
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// FuzzDecoder compares with pglogrepl, as far as that can be given anything: it believes any length in a tuple or TRUNCATE.
func FuzzDecoder(f *testing.F) {
	for _, m := range [][]byte{begin(7), commit(9), change('I', 3), change('U', 3), change('D', 3), truncate(1, 2),
		append(append([]byte{'M'}, make([]byte, 9)...), "freshet.catalog\x00\x00\x00\x00\x00"...)} {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		d := newDecoder(nil)
		d.open, d.number = len(m) > 0 && m[0] != messageBegin, 1
		c, err := d.message(m)
		if err != nil || len(m) == 0 {
			return
		}
		switch m[0] {
		case messageInsert, messageUpdate, messageDelete:
			if !slices.Equal(d.commit.Relations, []uint32{binary.BigEndian.Uint32(m[1:5])}) {
				t.Fatalf("%v", d.commit.Relations)
			}
		case messageBegin, messageCommit, messageTruncate:
			theirs, err := pglogrepl.Parse(m)
			switch x := theirs.(type) {
			case *pglogrepl.BeginMessage:
				if d.commit.XID != x.Xid || !d.open {
					t.Fatalf("%+v, not %+v", d, x)
				}
			case *pglogrepl.CommitMessage:
				if c == nil || c.End != consistency.LSN(x.TransactionEndLSN) {
					t.Fatalf("%+v, not %+v", c, x)
				}
			case *pglogrepl.TruncateMessage:
				slices.Sort(x.RelationIDs)
				if got := slices.Sorted(slices.Values(d.commit.Relations)); !slices.Equal(got, slices.Compact(x.RelationIDs)) {
					t.Fatalf("%v, not %v", got, x.RelationIDs)
				}
			default:
				if m[0] != messageTruncate || len(m) > 6 { // pglogrepl wants one relation at least
					t.Fatalf("accepted, but pglogrepl says %v", err)
				}
			}
		}
	})
}

func TestDecodingAllocatesNothing(t *testing.T) {
	d := newDecoder(nil)
	messages := [][]byte{begin(7), change('I', 1), change('U', 2), commit(99)}
	decode(t, &d, messages...)
	if n := testing.AllocsPerRun(100, func() { decode(t, &d, messages...) }); n != 0 {
		t.Errorf("%v allocations for a transaction", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	d := newDecoder(nil)
	messages := [][]byte{begin(7), change('I', 1), change('U', 2), commit(99)}
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range messages {
			if _, err := d.message(m); err != nil {
				b.Fatal(err)
			}
		}
	}
}
