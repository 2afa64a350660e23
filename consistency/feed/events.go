package feed

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The event triggers that tell the feed of changes to the catalog, at the commit that makes them: DDL of every kind, GRANT and
// REVOKE, REFRESH MATERIALIZED VIEW. They fire also where session_replication_role is replica. Roles, memberships, the
// settings of roles and databases, and event triggers themselves fire none: those are found out by looking (package catalog).
//
// The functions run with the rights of whoever has set them up, so every name in them is qualified and their search_path is
// fixed (CVE-2018-1058). Whatever goes wrong in them is a warning: nobody's DDL fails because of Freshet. What concerns
// temporary objects alone is passed over, since no plan and no cached answer knows them.
var eventTriggers = []eventTrigger{
	onDDL,
	{"freshet_sql_drop", "sql_drop", "catalog_dropped", catalogDroppedBody},
	{"freshet_ddl_command_start", "ddl_command_start", "catalog_changing", catalogChangingBody},
}

var onDDL = eventTrigger{"freshet_ddl_command_end", "ddl_command_end", "catalog_changed", catalogChangedBody}

type eventTrigger struct {
	name, event    string
	function, body string // in the body, %PUBLICATION% stands for the publication's name
}

// bodyFor is the body of the trigger's function, where the publication has this name.
func (t eventTrigger) bodyFor(publication string) string {
	return strings.ReplaceAll(t.body, "%PUBLICATION%", quoteLiteral(publication))
}

const (
	eventFunctionHead = `CREATE OR REPLACE FUNCTION freshet.%s() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %s`

	// DROP is left to sql_drop, which knows what was dropped; but DROP OWNED takes away privileges, too. COMMENT and its like
	// change nothing that an answer can depend on; of a changed publication the feed is told, which looks at it itself. What REFRESH
	// has changed is one relation.
	catalogChangedBody = `
DECLARE
	command record;
	changed boolean := tg_tag OPERATOR(pg_catalog.=) 'DROP OWNED';
BEGIN
	IF tg_tag OPERATOR(pg_catalog.~) 'PUBLICATION$' THEN
		PERFORM pg_catalog.pg_logical_emit_message(true, 'freshet.publication', '');
		RETURN;
	ELSIF tg_tag OPERATOR(pg_catalog.~) '^(COMMENT|SECURITY LABEL)$|(SUBSCRIPTION|STATISTICS)$' THEN
		RETURN;
	END IF;
	-- A table that has lost its replica identity would refuse UPDATE and DELETE for as long as it is published.
	IF tg_tag OPERATOR(pg_catalog.~) '^(ALTER TABLE|ALTER INDEX|DROP )' THEN
		BEGIN
			FOR command IN SELECT n.nspname, c.relname FROM pg_catalog.pg_publication AS p
				JOIN pg_catalog.pg_publication_rel AS r ON r.prpubid OPERATOR(pg_catalog.=) p.oid
				JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) r.prrelid
				JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
				WHERE p.pubname OPERATOR(pg_catalog.=) %PUBLICATION% AND NOT p.puballtables AND c.relreplident OPERATOR(pg_catalog.<>) 'f'
				AND NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisvalid
					AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)
			LOOP
				EXECUTE pg_catalog.format('ALTER PUBLICATION %I DROP TABLE ONLY %I.%I', %PUBLICATION%, command.nspname, command.relname);
			END LOOP;
		EXCEPTION WHEN OTHERS THEN
			RAISE WARNING 'Freshet could not take a table without replica identity out of its publication: %', sqlerrm;
		END;
	END IF;
	BEGIN
		FOR command IN SELECT c.objid, c.command_tag, c.schema_name FROM pg_catalog.pg_event_trigger_ddl_commands() AS c LOOP
			IF command.command_tag OPERATOR(pg_catalog.=) 'REFRESH MATERIALIZED VIEW' THEN
				PERFORM pg_catalog.pg_logical_emit_message(true, 'freshet.relation', command.objid::pg_catalog.text);
			ELSIF command.schema_name IS NULL OR command.schema_name OPERATOR(pg_catalog.<>) 'pg_temp' THEN
				changed := true;
			END IF;
		END LOOP;
	EXCEPTION WHEN OTHERS THEN
		changed := true;
	END;
	IF changed THEN
		PERFORM pg_catalog.pg_logical_emit_message(true, 'freshet.catalog', '');
	END IF;
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING 'Freshet was not told of this %: %', tg_tag, sqlerrm;
END`

	// ALTER TABLE … SET UNLOGGED is refused for a table in a publication; from 18 on, so is SET EXPRESSION for a virtual column. What the statement will change isn't known yet, so that each table counts
	// that its text names; those that stay logged are published again by themselves.
	catalogChangingBody = `
DECLARE
	query text := pg_catalog.lower(pg_catalog.current_query());
	named record;
BEGIN
	IF tg_tag OPERATOR(pg_catalog.<>) 'ALTER TABLE' OR query OPERATOR(pg_catalog.!~) '\m(unlogged|expression)\M' THEN
		RETURN;
	END IF;
	BEGIN
		FOR named IN SELECT n.nspname, c.relname FROM pg_catalog.pg_publication AS p
			JOIN pg_catalog.pg_publication_rel AS r ON r.prpubid OPERATOR(pg_catalog.=) p.oid
			JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) r.prrelid
			JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
			WHERE p.pubname OPERATOR(pg_catalog.=) %PUBLICATION% AND NOT p.puballtables
			AND CASE WHEN c.relname OPERATOR(pg_catalog.~) '\W'
				THEN pg_catalog.strpos(query, pg_catalog.lower(c.relname::pg_catalog.text)) OPERATOR(pg_catalog.>) 0
				ELSE pg_catalog.lower(c.relname::pg_catalog.text) OPERATOR(pg_catalog.=) ANY (pg_catalog.regexp_split_to_array(query, '\W+')) END
		LOOP
			EXECUTE pg_catalog.format('ALTER PUBLICATION %I DROP TABLE ONLY %I.%I', %PUBLICATION%, named.nspname, named.relname);
		END LOOP;
	EXCEPTION WHEN OTHERS THEN
		RAISE WARNING 'Freshet could not take a table that is about to change out of its publication: %', sqlerrm;
	END;
END`

	// What was dropped along with something temporary is temporary, whether it is said to be or not.
	catalogDroppedBody = `
BEGIN
	IF EXISTS (SELECT FROM pg_catalog.pg_event_trigger_dropped_objects() AS d WHERE d.original AND NOT d.is_temporary
		AND d.object_type OPERATOR(pg_catalog.!~) '^(publication|subscription|statistics)') THEN
		PERFORM pg_catalog.pg_logical_emit_message(true, 'freshet.catalog', '');
	END IF;
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING 'Freshet was not told of this %: %', tg_tag, sqlerrm;
END`
)

// events is what of them is in the database now.
type events struct {
	plpgsql   bool
	functions map[string]bool  // as they should be
	found     map[string]event // by the trigger's name
}

type event struct {
	event, function string // function is schema and name
	enabled         bool   // ALWAYS
}

// eventsSQL lists what there is of the triggers and their functions. A function counts only with the body that it should have.
const eventsSQL = `
SELECT 'language', '', '', false FROM pg_catalog.pg_language WHERE lanname = 'plpgsql'
UNION ALL
SELECT 'function', p.proname::text, p.prosrc, p.prosecdef AND p.proconfig = ARRAY['search_path=pg_catalog, pg_temp']
	FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
	WHERE n.nspname = 'freshet' AND p.pronargs = 0
UNION ALL
SELECT e.evtevent::text, e.evtname::text, n.nspname || '.' || p.proname, e.evtenabled = 'A'
	FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
	WHERE e.evttags IS NULL`

func (e *events) read(ctx context.Context, tx pgx.Tx, publication string) error {
	*e = events{functions: map[string]bool{}, found: map[string]event{}}
	rows, err := tx.Query(ctx, eventsSQL)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var kind, name, text string
		var right bool
		if err := rows.Scan(&kind, &name, &text, &right); err != nil {
			return err
		}
		switch kind {
		case "language":
			e.plpgsql = true
		case "function":
			for _, t := range eventTriggers {
				if t.function == name && t.bodyFor(publication) == text && right {
					e.functions[name] = true
				}
			}
		default:
			e.found[name] = event{kind, text, right}
		}
	}
	return rows.Err()
}

func (e *events) complete() bool {
	for _, t := range eventTriggers {
		if !e.functions[t.function] || e.found[t.name] != (event{t.event, "freshet." + t.function, true}) {
			return false
		}
	}
	return true
}

// observe plans the event triggers.
func (p *plan) observe(o Options, r *Report) {
	r.part = PartEvents
	e := &p.events
	switch {
	case e.complete():
		return
	case p.schema != "" && !p.trusted:
		return // said already
	case !p.superuser:
		r.note("", "only a superuser can make event triggers; without them, changes of the catalog take up to a second to reach the cache, "+
			"and materialized views aren't cached")
		return
	case !e.plpgsql:
		r.note("", "the event triggers need the language plpgsql: CREATE EXTENSION plpgsql")
		return
	}
	r.schema()
	for _, t := range eventTriggers {
		if !e.functions[t.function] {
			r.do(fmt.Sprintf(eventFunctionHead, t.function, quoteLiteral(t.bodyFor(o.Publication))))
			r.do("REVOKE ALL ON FUNCTION freshet." + t.function + "() FROM PUBLIC")
		}
		have, exists := e.found[t.name]
		want := event{t.event, "freshet." + t.function, true}
		if exists && have != want {
			r.do("DROP EVENT TRIGGER " + t.name)
		}
		if have != want {
			r.do("CREATE EVENT TRIGGER " + t.name + " ON " + t.event + " EXECUTE FUNCTION freshet." + t.function + "()")
			r.do("ALTER EVENT TRIGGER " + t.name + " ENABLE ALWAYS")
		}
	}
}

// remove plans the way back.
func (e *events) remove(p *plan, r *Report) {
	for _, t := range eventTriggers {
		if _, exists := e.found[t.name]; exists {
			if !p.superuser {
				r.note("", "the event trigger "+t.name+" can only be dropped by a superuser")
				continue
			}
			r.do("DROP EVENT TRIGGER " + t.name)
		}
	}
	if p.superuser && p.schema != "" && p.trusted {
		for _, t := range eventTriggers {
			r.do("DROP FUNCTION IF EXISTS freshet." + t.function + "()")
		}
	}
}
