/** One input event of the benchmark: the 8 fields of bench/apps.py's Event, in the same order. */
public final class Event {
    public String id;
    public String user;
    public String session;
    public String page;
    public int status;
    public int cents;
    public long at;
    public boolean mobile;
}
