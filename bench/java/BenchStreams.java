import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.WindowedSerdes;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;

/**
 * The applications of the benchmark on Kafka Streams: the same as bench/apps.py, exactly once,
 * one thread, every other setting at its default. Prints one JSON line per change of state and
 * per restored partition; the figures themselves are taken from outside, for both engines alike.
 *
 * <p>Usage: BenchStreams map|count|regroup|tumbling|hopping|sliding|session --brokers B --in TOPIC --out TOPIC --app-id ID --state-dir DIR
 *         [--leave yes] [--session-ms MS]
 */
public final class BenchStreams {
    private static final Duration GRACE = Duration.ofMillis(
            Long.parseLong(System.getenv().getOrDefault("BENCH_GRACE_MS", "0")));
    private static final CloseOptions STAY = CloseOptions.timeout(Duration.ofSeconds(10));
    private static final CloseOptions LEAVE = CloseOptions.timeout(Duration.ofSeconds(10))
            .withGroupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP);

    public static void main(String[] arguments) throws InterruptedException {
        Map<String, String> options = options(arguments);
        StreamsBuilder builder = new StreamsBuilder();
        declare(arguments[0], builder, options.get("--in"), options.get("--out"));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(options));
        CountDownLatch stopped = new CountDownLatch(1);
        streams.setStateListener((now, before) -> {
            say("\"state\": \"" + now + "\"");
            if (now == KafkaStreams.State.NOT_RUNNING || now == KafkaStreams.State.ERROR) {
                stopped.countDown();
            }
        });
        streams.setGlobalStateRestoreListener(new RestoreLines());
        CloseOptions close = "yes".equals(options.get("--leave")) ? LEAVE : STAY;
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(close)));
        streams.start();
        stopped.await();
        if (streams.state() == KafkaStreams.State.ERROR) {
            System.exit(1);
        }
    }

    private static void declare(String workload, StreamsBuilder builder, String in, String out) {
        KStream<String, Event> events = builder.stream(in, Consumed.with(Serdes.String(), new EventSerde()));
        switch (workload) {
            case "map" -> events
                    .mapValues(BenchStreams::convert)
                    .to(out, Produced.with(Serdes.String(), new EventSerde()));
            case "count" -> events
                    .groupByKey(Grouped.with(Serdes.String(), new EventSerde()))
                    .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts"))
                    .toStream()
                    .to(out, Produced.with(Serdes.String(), Serdes.Long()));
            case "regroup" -> events
                    .groupBy((key, event) -> event.user,
                            Grouped.with("by-user", Serdes.String(), new EventSerde()))
                    .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts"))
                    .toStream()
                    .to(out, Produced.with(Serdes.String(), Serdes.Long()));
            case "tumbling" -> counted(events, TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), GRACE), out);
            case "hopping" -> counted(events, TimeWindows
                    .ofSizeAndGrace(Duration.ofMinutes(10), GRACE).advanceBy(Duration.ofMinutes(1)), out);
            case "sliding" -> events
                    .groupByKey(Grouped.with(Serdes.String(), new EventSerde()))
                    .windowedBy(SlidingWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(10), GRACE))
                    .count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("counts"))
                    .toStream()
                    .to(out, Produced.with(
                            WindowedSerdes.timeWindowedSerdeFrom(String.class, 10_000), Serdes.Long()));
            case "session" -> events
                    .groupByKey(Grouped.with(Serdes.String(), new EventSerde()))
                    .windowedBy(SessionWindows.ofInactivityGapAndGrace(Duration.ofSeconds(2), GRACE))
                    .count(Materialized.<String, Long, SessionStore<Bytes, byte[]>>as("counts"))
                    .toStream()
                    .to(out, Produced.with(
                            WindowedSerdes.sessionWindowedSerdeFrom(String.class), Serdes.Long()));
            default -> throw new IllegalArgumentException("unknown workload: " + workload);
        }
    }

    private static void counted(KStream<String, Event> events, TimeWindows windows, String out) {
        events.groupByKey(Grouped.with(Serdes.String(), new EventSerde()))
                .windowedBy(windows)
                .count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("counts"))
                .toStream()
                .to(out, Produced.with(
                        WindowedSerdes.timeWindowedSerdeFrom(String.class, windows.size()), Serdes.Long()));
    }

    private static Event convert(Event event) {
        event.cents = event.cents * 11 / 10;
        return event;
    }

    private static Properties settings(Map<String, String> options) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, options.get("--app-id"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("--brokers"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, options.get("--state-dir"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        if (System.getenv("BENCH_CACHE_BYTES") != null) {
            settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, System.getenv("BENCH_CACHE_BYTES"));
        }
        if (options.containsKey("--session-ms")) {
            String session = StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG);
            settings.put(session, options.get("--session-ms"));
        }
        return settings;
    }

    private static Map<String, String> options(String[] arguments) {
        Map<String, String> options = new HashMap<>();
        for (int i = 1; i + 1 < arguments.length; i += 2) {
            options.put(arguments[i], arguments[i + 1]);
        }
        return options;
    }

    /** Prints one line; the time is the broker's kind: milliseconds since the epoch. */
    private static synchronized void say(String fields) {
        System.out.println("{\"at\": " + System.currentTimeMillis() + ", " + fields + "}");
    }

    /** Says when the restore of a partition starts and ends: a cross-check of the figure. */
    private static final class RestoreLines implements StateRestoreListener {
        @Override
        public void onRestoreStart(TopicPartition partition, String store, long start, long end) {
            say("\"restore\": \"start\", \"partition\": " + partition.partition()
                    + ", \"records\": " + (end - start));
        }

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long end, long records) {}

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long records) {
            say("\"restore\": \"end\", \"partition\": " + partition.partition()
                    + ", \"records\": " + records);
        }
    }
}
