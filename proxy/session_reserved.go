package proxy

import (
	"bytes"
	"strings"

	"github.com/freshet/freshet/proxy/wire"
)

// A library that the server loads may reserve a prefix of settings' names: those that were made before and mean nothing to it are removed, with a
// warning each, for good and whatever becomes of the transaction (MarkGUCPrefixReserved in Postgres' guc.c). The session forgets them then: else they
// would be made on its next server connection.

// removed looks at a warning for that.
func (s *Session) removed(body []byte) {
	if string(wire.ErrorField(body, 'R')) != "MarkGUCPrefixReserved" || s.conn == nil {
		return
	}
	message := bytes.ToLower(wire.ErrorField(body, 'M'))
	var names []string
	for _, list := range []*settings{s.set, s.base, s.txSettings.start.set, s.txSettings.kept.set, serverSettings(s.conn)} {
		if list == nil {
			continue
		}
		for _, t := range list.list {
			if isCustom(t.name) && bytes.Contains(message, []byte(strings.ToLower(t.name))) {
				names = append(names, t.name)
			}
		}
	}
	for _, name := range names {
		s.forgetSetting(name)
	}
}

func (s *Session) forgetSetting(name string) {
	without := func(v variables) variables {
		v.set = v.set.without(name)
		return v
	}
	tx := &s.txSettings
	tx.start, tx.kept = without(tx.start), without(tx.kept)
	for i := range tx.saves {
		tx.saves[i].force, tx.saves[i].kept = without(tx.saves[i].force), without(tx.saves[i].kept)
	}
	s.base = s.base.without(name)
	s.unit.settings = s.unit.settings.without(name)
	s.force(without(s.variables()))
	noteSettings(s.conn, serverSettings(s.conn).without(name))
	delete(s.conn.Customs, name)
}
