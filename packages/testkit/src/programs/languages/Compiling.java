import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import javax.tools.ToolProvider;
import org.crac.Core;

/** Gives the JVM seconds of methods to compile, is checkpointed at once, and tells how long a clone that only sleeps goes on with them. */
public class Compiling {
  public static void main(String[] args) throws Exception {
    for (int at = 0; at < 4; at++) {
      Path source = Path.of("Made" + at + ".java");
      String methods =
          String.join("", IntStream.range(0, 400).mapToObj(i -> "int m" + i + "(int a) { return a * " + i + "; }").toList());
      Files.writeString(source, "class Made" + at + " { " + methods + " }");
      ToolProvider.getSystemJavaCompiler().run(null, null, null, source.toString());
    }
    Core.checkpointRestore();
    long before = ticks();
    Thread.sleep(500);
    System.out.println("ticks " + (ticks() - before));
  }

  /** Processor time of the threads that compile, in ticks of 10 ms. */
  static long ticks() throws Exception {
    long sum = 0;
    try (Stream<Path> threads = Files.list(Path.of("/proc/self/task"))) {
      for (Path thread : threads.toList()) {
        String stat = Files.readString(thread.resolve("stat"));
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        if (stat.contains(" CompilerThre)")) sum += Long.parseLong(fields[11]) + Long.parseLong(fields[12]);
      }
    }
    return sum;
  }
}
