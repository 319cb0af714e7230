import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.BatchStatement;
import com.datastax.oss.driver.api.core.cql.BatchStatementBuilder;
import com.datastax.oss.driver.api.core.cql.BatchType;
import com.datastax.oss.driver.api.core.cql.BoundStatement;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.sink.SinkConnector;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTask;

/**
 * A minimal Cassandra sink for Kafka Connect, over the DataStax Java driver: schemaless JSON, one prepared insert, unlogged
 * batches, a bounded number in flight. No connector of that kind could be had from the package registries, and this one is
 * generous: it does nothing that the common ones do besides (mapping, type conversion by table, retries, error topics).
 */
public class UserSink extends SinkConnector {
    private Map<String, String> settings;

    @Override
    public void start(Map<String, String> settings) {
        this.settings = settings;
    }

    @Override
    public Class<? extends Task> taskClass() {
        return Writer.class;
    }

    @Override
    public List<Map<String, String>> taskConfigs(int tasks) {
        return Collections.nCopies(tasks, settings);
    }

    @Override
    public void stop() {}

    @Override
    public ConfigDef config() {
        return new ConfigDef();
    }

    @Override
    public String version() {
        return "1";
    }

    /** Writes what the framework polls; offsets are committed after {@code flush}, which waits for all that is in flight. */
    public static class Writer extends SinkTask {
        private static final String[] TEXTS = {
            "first_name", "last_name", "gender", "email", "username", "phone", "address", "post_code", "picture"
        };
        private static final String[] TIMES = {"dob", "registered_date", "timestamp"};

        private final AtomicReference<Throwable> failure = new AtomicReference<>();
        private CqlSession session;
        private PreparedStatement insert;
        private int batchRows;
        private int inFlight;
        private Semaphore places;

        @Override
        public void start(Map<String, String> settings) {
            String[] address = settings.get("cassandra").split(":");
            batchRows = Integer.parseInt(settings.get("batch.rows"));
            inFlight = Integer.parseInt(settings.get("in.flight"));
            places = new Semaphore(inFlight);
            session = CqlSession.builder()
                    .addContactPoint(new InetSocketAddress(address[0], Integer.parseInt(address[1])))
                    .withLocalDatacenter("datacenter1")
                    .withConfigLoader(DriverConfigLoader.programmaticBuilder()
                            .withString(DefaultDriverOption.REQUEST_CONSISTENCY, "LOCAL_QUORUM")
                            .withString(DefaultDriverOption.PROTOCOL_COMPRESSION, settings.get("compression"))
                            .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(10))
                            .withInt(DefaultDriverOption.CONNECTION_POOL_LOCAL_SIZE, 2)
                            // the server warns of every batch over 5 KiB; a line for each would slow it down
                            .withBoolean(DefaultDriverOption.REQUEST_LOG_WARNINGS, false)
                            .build())
                    .build();
            List<String> columns = new ArrayList<>(List.of("id"));
            Collections.addAll(columns, TEXTS);
            Collections.addAll(columns, TIMES);
            insert = session.prepare("INSERT INTO " + settings.get("table") + " (" + String.join(", ", columns) + ") VALUES ("
                    + String.join(", ", Collections.nCopies(columns.size(), "?")) + ") USING TIMESTAMP ?");
        }

        @Override
        public void put(Collection<SinkRecord> records) {
            BatchStatementBuilder batch = BatchStatement.builder(BatchType.UNLOGGED);
            for (SinkRecord record : records) {
                batch.addStatement(bind((Map<?, ?>) record.value()));
                if (batch.getStatementsCount() == batchRows) {
                    send(batch.build());
                    batch = BatchStatement.builder(BatchType.UNLOGGED);
                }
            }
            if (batch.getStatementsCount() > 0) {
                send(batch.build());
            }
        }

        private BoundStatement bind(Map<?, ?> user) {
            Object[] values = new Object[1 + TEXTS.length + TIMES.length + 1];
            int next = 0;
            values[next++] = UUID.fromString((String) user.get("id"));
            for (String name : TEXTS) {
                values[next++] = user.get(name);
            }
            Instant written = null;
            for (String name : TIMES) {
                written = Instant.parse((String) user.get(name));
                values[next++] = written;
            }
            values[next] = written.toEpochMilli() * 1000;
            return insert.bind(values);
        }

        private void send(BatchStatement batch) {
            places.acquireUninterruptibly();
            session.executeAsync(batch).whenComplete((done, error) -> {
                if (error != null) {
                    failure.compareAndSet(null, error);
                }
                places.release();
            });
        }

        @Override
        public void flush(Map<TopicPartition, OffsetAndMetadata> offsets) {
            places.acquireUninterruptibly(inFlight);
            places.release(inFlight);
            if (failure.get() != null) {
                throw new ConnectException("Cassandra refused a batch", failure.get());
            }
        }

        @Override
        public void stop() {
            if (session != null) {
                session.close();
            }
        }

        @Override
        public String version() {
            return "1";
        }
    }
}
