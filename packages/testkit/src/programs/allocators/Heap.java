import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/** What a JVM promises on memory that may be linked: content that stays, zeros in new arrays. Usage: Heap IMAGE1 IMAGE2 */
public class Heap {
  static boolean failed;

  static void need(boolean isRight, String what) {
    if (isRight) return;
    System.out.println("bad " + what);
    failed = true;
  }

  /** The ten lines of docs/protocol.md. */
  static void checkpoint(String to) throws Exception {
    Path directory = Path.of(System.getenv("FORKPOINT_DIR"));
    boolean link = System.getenv("HAZARDS_PLAIN") == null;
    String request = "{\"v\":1,\"op\":\"checkpoint\",\"pid\":" + ProcessHandle.current().pid() + ",\"to\":\"" + to
        + "\",\"stop\":true,\"link\":" + link + "}\n";
    Files.write(directory.resolve("request"), request.getBytes(), java.nio.file.StandardOpenOption.WRITE);
    String outcome = new String(Files.readAllBytes(directory.resolve("outcome")));
    if (!outcome.contains("\"restored\"")) {
      System.out.println("no restore: " + outcome);
      System.exit(2);
    }
  }

  static byte[] block(int i) {
    byte[] bytes = new byte[1000 + i * 997 % 400000];
    Arrays.fill(bytes, (byte) (i % 120 + 1));
    return bytes;
  }

  static boolean isZero(byte[] bytes) {
    for (byte one : bytes) if (one != 0) return false;
    return true;
  }

  public static void main(String[] images) throws Exception {
    int count = 400;
    byte[][] blocks = new byte[count][];
    ByteBuffer[] direct = new ByteBuffer[16];
    Map<String, Integer> words = new HashMap<>();
    for (int i = 0; i < count; i++) blocks[i] = block(i);
    for (int i = 0; i < 100000; i++) words.put("word " + i, i);
    for (int i = 0; i < direct.length; i++) {
      direct[i] = ByteBuffer.allocateDirect(1 << 20);
      for (int k = 0; k < 1 << 20; k += 8) direct[i].putLong(k, i * 7L + k);
    }
    for (int generation = 0; generation < images.length; generation++) {
      checkpoint(images[generation]);
      for (int i = 0; i < count; i++) need(Arrays.equals(blocks[i], block(i)), "content");
      need(words.get("word 4711") == 4711 && words.size() == 100000, "a map");
      for (int i = 0; i < direct.length; i++)
        for (int k = 0; k < 1 << 20; k += 4096) need(direct[i].getLong(k) == i * 7L + k, "a direct buffer");
      for (int round = 0; round < 3; round++) {
        for (int i = (generation + round) % 2; i < count; i += 2) blocks[i] = null;
        System.gc();
        for (int i = 0; i < count; i++) {
          if (blocks[i] != null) continue;
          need(isZero(new byte[1000 + i * 997 % 400000]), "zeros in new arrays");
          blocks[i] = block(i);
        }
      }
      ByteBuffer fresh = ByteBuffer.allocateDirect(4 << 20);
      for (int k = 0; k < 4 << 20; k += 8) need(fresh.getLong(k) == 0, "zeros in a new direct buffer");
    }
    System.out.println(failed ? "bad" : "ok");
    System.exit(failed ? 1 : 0);
  }
}
