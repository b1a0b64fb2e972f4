import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serializer;

/** JSON by Jackson with a reader and a writer bound to the type once: its documented fast way. */
public final class EventSerde implements Serde<Event> {
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private final ObjectReader reader = MAPPER.readerFor(Event.class);
    private final ObjectWriter writer = MAPPER.writerFor(Event.class);

    @Override
    public Serializer<Event> serializer() {
        return (topic, event) -> {
            try {
                return event == null ? null : writer.writeValueAsBytes(event);
            } catch (IOException error) {
                throw new SerializationException(error);
            }
        };
    }

    @Override
    public Deserializer<Event> deserializer() {
        return (topic, bytes) -> {
            try {
                return bytes == null ? null : reader.readValue(bytes);
            } catch (IOException error) {
                throw new SerializationException(error);
            }
        };
    }
}
