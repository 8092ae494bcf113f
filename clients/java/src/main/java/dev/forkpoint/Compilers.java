package dev.forkpoint;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The threads with which the JVM compiles. What they have not finished would be done again by every clone of an image. */
final class Compilers {
  /** HotSpot's names as the kernel keeps them: 15 characters (hotspot/share/compiler/compileBroker.cpp, TASK_COMM_LEN). */
  private static final String[] NAMES = {"C1 CompilerThre", "C2 CompilerThre", "JVMCI CompilerT"};
  /** Who serves requests should not be kept from the checkpoint for longer. */
  private static final long LIMIT_MS = 1_000;
  /** Time between two looks, and how many of them have to find nobody at work. */
  private static final long STEP_MS = 20;
  private static final int QUIET_LOOKS = 3;

  private Compilers() {}

  /** Waits until nothing is left to compile, at most the milliseconds of the property {@code forkpoint.compileMs}. */
  static void settle() throws IOException {
    long end = System.nanoTime() + Long.getLong("forkpoint.compileMs", LIMIT_MS) * 1_000_000;
    String before = "";
    try {
      for (int quiet = 0; quiet < QUIET_LOOKS && System.nanoTime() < end; ) {
        String now = look();
        if (now.isEmpty()) return;
        quiet = now.equals(before) && !now.contains("R") ? quiet + 1 : 0;
        before = now;
        Thread.sleep(STEP_MS);
      }
    } catch (InterruptedException interrupted) {
      // Whoever interrupts does not want to wait; the checkpoint itself goes on.
      Thread.currentThread().interrupt();
    }
  }

  /** State and processor time of each of them (proc(5), stat); empty where there are none, or no /proc. */
  private static String look() throws IOException {
    List<String> all = new ArrayList<>();
    try (DirectoryStream<Path> threads = Files.newDirectoryStream(Path.of("/proc/self/task"))) {
      for (Path thread : threads) {
        String stat = statOf(thread);
        for (String name : NAMES) if (stat.contains("(" + name + ")")) all.add(factsOf(stat));
      }
    } catch (java.nio.file.NoSuchFileException | java.nio.file.AccessDeniedException none) {
      return "";
    }
    return String.join(" ", all);
  }

  private static String factsOf(String stat) {
    // Behind the name: state is the 3rd field, utime and stime are the 14th and 15th.
    String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
    return fields[0] + fields[11] + "," + fields[12];
  }

  private static String statOf(Path thread) {
    try {
      return Files.readString(thread.resolve("stat"));
    } catch (IOException ended) {
      return "";
    }
  }
}
