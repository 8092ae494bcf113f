import java.io.FileOutputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * A warm JVM program: BENCH_MB megabytes of objects. Looks every millisecond whether the FIFO of BENCH_FIFO is there: then
 * it writes its first line, then a digest of its memory and the number of its areas, and ends.
 */
public class Heap {
  record Item(int number, String name, long[] values) {}

  static List<Item> items = new ArrayList<>();

  /** Every eleventh object: enough to notice a page that is not the right one. */
  static String digest() {
    long sum = 0;
    for (int i = 0; i < items.size(); i += 11)
      sum = sum * 31 + items.get(i).number() + items.get(i).name().length() + items.get(i).values()[3];
    return Long.toHexString(sum);
  }

  static long[] values(int number) {
    long[] values = new long[71];
    for (int i = 0; i < values.length; i++) values[i] = number * 7L + i;
    return values;
  }

  static void write(OutputStream out, String line) throws Exception {
    out.write(line.getBytes());
    out.flush();
  }

  public static void main(String[] arguments) throws Exception {
    long bytes = Long.parseLong(System.getenv("BENCH_MB")) << 20;
    Path fifo = Path.of(System.getenv("BENCH_FIFO"));
    for (int i = 0; bytes > 0; i++) {
      items.add(new Item(i, "item " + i, values(i)));
      // 71 values, the record, the text and their headers.
      bytes -= 680;
    }
    System.gc();
    // What is done after a restore has been done before.
    try (OutputStream nothing = new FileOutputStream("/dev/null")) {
      for (int i = 0; i < 2000; i++) write(nothing, "first callback\n");
    }
    System.out.println("ready " + digest());
    while (!Files.exists(fifo)) Thread.sleep(1);
    try (OutputStream out = new FileOutputStream(fifo.toFile())) {
      write(out, "first callback\n");
      long areas = Files.lines(Path.of("/proc/self/maps")).count();
      write(out, "digest " + digest() + " " + areas + "\n");
    }
    System.exit(0);
  }
}
