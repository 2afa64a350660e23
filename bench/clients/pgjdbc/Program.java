// pgjdbc: autocommit on and off, every prepareThreshold that matters, fetch size, batches, generated keys, COPY, LISTEN, cancel.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class Program {
    static Connection connect(String params) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", System.getenv("PGUSER"));
        p.setProperty("password", System.getenv("PGPASSWORD"));
        return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE") + "?sslmode=disable" + params, p);
    }

    static String one(Connection c, String sql, Object... args) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            for (int i = 0; i < args.length; i++) s.setObject(i + 1, args[i]);
            try (ResultSet r = s.executeQuery()) {
                r.next();
                return r.getString(1);
            }
        }
    }

    static int exec(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute(sql);
            return s.getUpdateCount();
        }
    }

    static String code(Connection c, String sql) {
        try {
            exec(c, sql);
            return "no error";
        } catch (SQLException e) {
            return e.getSQLState();
        }
    }

    static void print(Object... a) {
        StringJoiner j = new StringJoiner(" ");
        for (Object x : a) j.add(String.valueOf(x));
        System.out.println(j);
    }

    public static void main(String[] args) throws Exception {
        for (String params : new String[] {"", "&prepareThreshold=1", "&prepareThreshold=-1", "&prepareThreshold=0", "&preferQueryMode=simple", "&preferQueryMode=extendedForPrepared", "&autosave=always", "&binaryTransfer=false"}) {
            try (Connection c = connect(params)) {
                print("== parameters", params);
                queries(c);
                transactions(c, params);
                batches(c, params);
            }
        }
        try (Connection c = connect("&reWriteBatchedInserts=true")) {
            print("== types");
            types(c);
            print("== fetch size");
            fetch(c);
            print("== session");
            session(c);
            print("== copy");
            copy(c);
            print("== cancel and notify");
            cancel(c);
            print("== big and concurrent");
            concurrent(c);
        }
    }

    static void queries(Connection c) throws SQLException {
        print(one(c, "SELECT 'plain'"), one(c, "SELECT ?::text || ?", "a", 1));
        try (PreparedStatement write = c.prepareStatement("UPDATE accounts SET balance = ? WHERE id = 50"); PreparedStatement read = c.prepareStatement("SELECT balance FROM accounts WHERE id = ?")) {
            for (int i = 0; i < 20; i++) {
                write.setLong(1, i);
                write.executeUpdate();
                read.setInt(1, 50);
                try (ResultSet r = read.executeQuery()) {
                    r.next();
                    if (r.getLong(1) != i) print("own write not read:", r.getLong(1), "instead of", i);
                }
            }
        }
        List<String> codes = new ArrayList<>();
        for (String s : new String[] {"SELECT nothing", "SELECT 1/0", "INSERT INTO accounts VALUES (1, 'x', 1)", "SELEC", "SELECT * FROM nowhere"}) codes.add(code(c, s));
        print(codes);
        try (Statement s = c.createStatement()) {
            boolean rows = s.execute("SELECT 1; UPDATE accounts SET balance = 7 WHERE id = 51; SELECT 2");
            List<Object> all = new ArrayList<>();
            for (; rows || s.getUpdateCount() >= 0; rows = s.getMoreResults()) all.add(rows ? "rows" : s.getUpdateCount());
            print(all);
        }
        try (ResultSet r = c.getMetaData().getColumns(null, "public", "accounts", null)) {
            while (r.next()) System.out.print(r.getString("COLUMN_NAME") + " " + r.getString("TYPE_NAME") + ", ");
            print();
        }
    }

    static void transactions(Connection c, String params) throws SQLException {
        long before = Long.parseLong(one(c, "SELECT balance FROM accounts WHERE id = 60"));
        c.setAutoCommit(false);
        exec(c, "UPDATE accounts SET balance = balance + 1 WHERE id = 60");
        Savepoint a = c.setSavepoint("a");
        print(code(c, "SELECT 1/0"));
        c.rollback(a);
        print(Long.parseLong(one(c, "SELECT balance FROM accounts WHERE id = 60")) - before);
        c.rollback();
        print(Long.parseLong(one(c, "SELECT balance FROM accounts WHERE id = 60")) - before);
        c.commit();
        for (int level : new int[] {Connection.TRANSACTION_SERIALIZABLE, Connection.TRANSACTION_REPEATABLE_READ, Connection.TRANSACTION_READ_COMMITTED}) {
            c.setTransactionIsolation(level);
            print(one(c, "SHOW transaction_isolation"));
            c.commit();
        }
        c.setReadOnly(true);
        print(Long.parseLong(one(c, "SELECT balance FROM accounts WHERE id = 60")) - before, code(c, "DELETE FROM accounts"));
        c.rollback();
        c.setReadOnly(false);
        c.setAutoCommit(true);
    }

    static void batches(Connection c, String params) throws SQLException {
        exec(c, "CREATE TABLE IF NOT EXISTS batch(id serial PRIMARY KEY, t text UNIQUE)");
        exec(c, "TRUNCATE batch RESTART IDENTITY");
        try (PreparedStatement s = c.prepareStatement("INSERT INTO batch(t) VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
            for (int i = 0; i < 300; i++) {
                s.setString(1, "row " + i);
                s.addBatch();
            }
            print(s.executeBatch().length);
            int keys = 0;
            try (ResultSet r = s.getGeneratedKeys()) {
                while (r.next()) keys += r.getInt(1);
            }
            print(keys);
            for (String t : new String[] {"new", "row 1", "never"}) {
                s.setString(1, t);
                s.addBatch();
            }
            c.setAutoCommit(false);
            try {
                s.executeBatch();
            } catch (BatchUpdateException e) {
                print(e.getSQLState());
            }
            c.rollback();
            c.setAutoCommit(true);
            print(one(c, "SELECT count(*) FROM batch"));
        }
    }

    static void types(Connection c) throws SQLException {
        exec(c, "CREATE TABLE types(id int PRIMARY KEY, b bool, i8 bigint, f8 float8, n numeric, t text, y bytea, d date, ts timestamp, tz timestamptz, u uuid, j jsonb, a int[])");
        try (PreparedStatement s = c.prepareStatement("INSERT INTO types VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?::jsonb, ?)")) {
            s.setInt(1, 1);
            s.setBoolean(2, true);
            s.setLong(3, 9007199254740993L);
            s.setDouble(4, 0.1);
            s.setBigDecimal(5, new java.math.BigDecimal("123456789012345678901234567890.123456789"));
            s.setString(6, "täxt");
            s.setBytes(7, new byte[] {(byte) 0xde, (byte) 0xad});
            s.setObject(8, java.time.LocalDate.of(2024, 2, 29));
            s.setObject(9, java.time.LocalDateTime.of(2024, 2, 29, 12, 34, 56, 789000));
            s.setObject(10, java.time.OffsetDateTime.of(2024, 2, 29, 12, 34, 56, 0, java.time.ZoneOffset.UTC));
            s.setObject(11, UUID.fromString("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"));
            s.setString(12, "{\"a\": [1, null]}");
            s.setArray(13, c.createArrayOf("int4", new Integer[] {1, 2, null}));
            s.executeUpdate();
        }
        try (PreparedStatement s = c.prepareStatement("SELECT * FROM types WHERE id = ?")) {
            for (int i = 0; i < 10; i++) { // as text first, then binary
                s.setInt(1, 1);
                try (ResultSet r = s.executeQuery()) {
                    r.next();
                    if (i % 3 == 0) print(r.getBoolean(2), r.getLong(3), r.getDouble(4), r.getBigDecimal(5), r.getString(6), Arrays.toString(r.getBytes(7)), r.getObject(8, java.time.LocalDate.class),
                        r.getObject(9, java.time.LocalDateTime.class), r.getObject(10, java.time.OffsetDateTime.class), r.getObject(11), r.getString(12), r.getArray(13));
                }
            }
        }
    }

    static void fetch(Connection c) throws SQLException {
        c.setAutoCommit(false);
        for (int size : new int[] {1, 7, 1000, 0}) {
            try (PreparedStatement s = c.prepareStatement("SELECT i FROM generate_series(1, ?) i")) {
                s.setFetchSize(size);
                s.setInt(1, size == 1 ? 20 : 5000);
                long sum = 0;
                try (ResultSet r = s.executeQuery()) {
                    while (r.next()) sum += r.getInt(1);
                }
                print(size, sum);
            }
        }
        // Two at a time, and another statement in between.
        try (PreparedStatement s = c.prepareStatement("SELECT id FROM accounts ORDER BY id"); PreparedStatement t = c.prepareStatement("SELECT id FROM accounts ORDER BY id DESC")) {
            s.setFetchSize(3);
            t.setFetchSize(5);
            long sum = 0;
            try (ResultSet a = s.executeQuery(); ResultSet b = t.executeQuery()) {
                while (a.next() && b.next()) {
                    sum += a.getInt(1) * b.getInt(1);
                    if (a.getRow() == 10) exec(c, "UPDATE accounts SET balance = 1 WHERE id = 70");
                }
            }
            print(sum);
        }
        c.commit();
        c.setAutoCommit(true);
    }

    static void session(Connection c) throws SQLException {
        exec(c, "SET TimeZone = 'Asia/Kolkata'");
        c.setSchema("pg_catalog");
        print(one(c, "SELECT current_setting('TimeZone') || ' ' || current_setting('search_path') || ' ' || ('2024-01-01 00:00+00'::timestamptz)::text"), c.getSchema());
        c.setSchema("public");
        exec(c, "CREATE TEMP TABLE t AS SELECT generate_series(1, 10) AS i");
        print(one(c, "SELECT sum(i) FROM t"));
        exec(c, "DROP TABLE t");
        c.setClientInfo("ApplicationName", "a program");
        print(one(c, "SHOW application_name"), c.isValid(5));
        exec(c, "CREATE FUNCTION twice(a int, OUT b int) LANGUAGE sql AS 'SELECT a * 2'");
        try (CallableStatement s = c.prepareCall("{? = call twice(?)}")) {
            s.registerOutParameter(1, Types.INTEGER);
            s.setInt(2, 21);
            s.execute();
            print(s.getInt(1));
        }
        exec(c, "DISCARD ALL");
    }

    static void copy(Connection c) throws Exception {
        exec(c, "CREATE TABLE copied(i int PRIMARY KEY, t text)");
        CopyManager m = c.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder b = new StringBuilder();
        for (int i = 0; i < 20000; i++) b.append(i).append("\trow ").append(i).append('\n');
        print(m.copyIn("COPY copied FROM STDIN", new StringReader(b.toString())));
        try {
            m.copyIn("COPY copied FROM STDIN", new StringReader("1\tagain\n"));
        } catch (SQLException e) {
            print(e.getSQLState());
        }
        StringWriter w = new StringWriter();
        print(m.copyOut("COPY (SELECT * FROM copied ORDER BY i) TO STDOUT", w), w.toString().length());
    }

    static void cancel(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.setQueryTimeout(1);
            s.execute("SELECT pg_sleep(60)");
        } catch (SQLException e) {
            print(e.getSQLState());
        }
        print(one(c, "SELECT 'goes on'"));
        try (Connection listener = connect("")) {
            exec(listener, "LISTEN news");
            exec(c, "NOTIFY news, 'hello'");
            exec(listener, "NOTIFY news, 'to myself'");
            PGConnection pg = listener.unwrap(PGConnection.class);
            SortedSet<String> got = new TreeSet<>();
            for (int i = 0; i < 20 && got.size() < 2; i++) {
                org.postgresql.PGNotification[] n = pg.getNotifications(1000);
                if (n != null) for (org.postgresql.PGNotification x : n) got.add(x.getParameter() + " " + (x.getPID() == pg.getBackendPID()));
            }
            print(got);
        }
    }

    static void concurrent(Connection c) throws Exception {
        int rows = 0;
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT generate_series(1, 100000)")) {
            while (r.next()) rows++;
        }
        print(rows, one(c, "SELECT repeat('y', 10000000)").length(), one(c, "SELECT length(?)", "z".repeat(5000000)));
        exec(c, "CREATE TABLE counter(i int PRIMARY KEY, n int)");
        exec(c, "INSERT INTO counter VALUES (1, 0)");
        ExecutorService pool = Executors.newFixedThreadPool(12);
        List<Future<?>> all = new ArrayList<>();
        for (int t = 0; t < 12; t++) all.add(pool.submit(() -> {
            try (Connection k = connect("")) {
                for (int i = 0; i < 20; i++) {
                    k.setAutoCommit(false);
                    int n = Integer.parseInt(one(k, "SELECT n FROM counter WHERE i = 1 FOR UPDATE"));
                    exec(k, "UPDATE counter SET n = " + (n + 1) + " WHERE i = 1");
                    k.commit();
                    k.setAutoCommit(true);
                    one(k, "SELECT owner FROM accounts WHERE id = ?", 5);
                }
            }
            return null;
        }));
        for (Future<?> f : all) f.get();
        pool.shutdown();
        print(one(c, "SELECT n FROM counter"));
    }
}
