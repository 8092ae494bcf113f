import dev.forkpoint.Forkpoint;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Holds megabytes of small objects; prints the sum of one of them and what the restore was given. */
public class Heap {
  public static void main(String[] args) throws Exception {
    List<int[]> objects = new ArrayList<>();
    long bytes = Long.parseLong(args[0]) << 20;
    for (long used = 0; used < bytes; used += 256 * 4 + 16) {
      int[] object = new int[256];
      object[7] = objects.size();
      objects.add(object);
    }
    Forkpoint.checkpointRestore(Path.of(args[1]));
    System.out.println("answer " + (objects.get(41)[7] + Integer.parseInt(Forkpoint.args().get(0))));
    System.exit(0);
  }
}
