package dev.forkpoint;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The threads with which the JVM compiles. What they have not finished would be done again by every clone of an image. */
final class Compilers {
  /** HotSpot's names as the kernel keeps them: 15 characters (hotspot/share/compiler/compileBroker.cpp, TASK_COMM_LEN). */
  private static final String[] NAMES = {"C1 CompilerThre", "C2 CompilerThre", "JVMCI CompilerT"};
  /** Who serves requests should not be kept from the checkpoint for longer. */
  private static final long LIMIT_MS = 1_000;
  /** Time between two looks, and how many of them have to find nobody at work. Seldom, lest looking becomes something to compile. */
  private static final long STEP_MS = 40;
  private static final int QUIET_LOOKS = 2;

  private Compilers() {}

  /** Waits until nothing is left to compile, at most the milliseconds of the property {@code forkpoint.compileMs}. */
  static void settle() throws IOException {
    long end = System.nanoTime() + Long.getLong("forkpoint.compileMs", LIMIT_MS) * 1_000_000;
    try {
      // The JVM may start more of them while there is much to do.
      for (List<Path> before = List.of(), now = find(); !now.equals(before); now = find()) {
        if (!settle(now, end)) return;
        before = now;
      }
    } catch (InterruptedException interrupted) {
      // Whoever interrupts does not want to wait; the checkpoint itself goes on.
      Thread.currentThread().interrupt();
    }
  }

  /** Waits until these threads do nothing; returns false when the time is over. */
  private static boolean settle(List<Path> threads, long end) throws InterruptedException {
    String before = "";
    for (int quiet = 0; quiet < QUIET_LOOKS; ) {
      if (System.nanoTime() >= end) return false;
      StringBuilder now = new StringBuilder();
      for (Path thread : threads) now.append(factsOf(statOf(thread)));
      quiet = now.toString().equals(before) && now.indexOf("R") < 0 ? quiet + 1 : 0;
      before = now.toString();
      if (!before.isEmpty()) Thread.sleep(STEP_MS);
    }
    return true;
  }

  /** Finds the threads that compile; there are none where there is no /proc. */
  private static List<Path> find() throws IOException {
    List<Path> found = new ArrayList<>();
    try (DirectoryStream<Path> threads = Files.newDirectoryStream(Path.of("/proc/self/task"))) {
      for (Path thread : threads) {
        String stat = statOf(thread);
        for (String name : NAMES) if (stat.contains("(" + name + ")")) found.add(thread);
      }
    } catch (NoSuchFileException | AccessDeniedException none) {
      return List.of();
    }
    return found;
  }

  /** State and processor time of a thread (proc(5), stat); empty when it has ended. */
  private static String factsOf(String stat) {
    if (stat.isEmpty()) return "";
    // Behind the name: state is the 3rd field, utime and stime are the 14th and 15th.
    String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
    return fields[0] + fields[11] + "," + fields[12] + " ";
  }

  private static String statOf(Path thread) {
    try {
      return Files.readString(thread.resolve("stat"));
    } catch (IOException ended) {
      return "";
    }
  }
}
