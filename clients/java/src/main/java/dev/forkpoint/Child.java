package dev.forkpoint;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** A living child, as its parent has it. */
public final class Child {
  private static final int SIGKILL = 9;
  private final int index;
  private final Map<String, SocketChannel> lines = new ConcurrentHashMap<>();
  private final StringBuffer said = new StringBuffer();
  private final CompletableFuture<int[]> end = new CompletableFuture<>();
  private volatile String id;

  Child(int index) {
    this.index = index;
  }

  /** Returns its number in its fork. */
  public int index() {
    return index;
  }

  /** Returns the id of its run. */
  public String id() {
    return id;
  }

  /** Returns the messages to and from it. */
  public Channel channel() {
    return new Channel(lines.get("channel"));
  }

  /** Returns its standard output when it was forked with {@link Forkpoint.Stdio#PIPE}, else null. */
  public InputStream stdout() {
    SocketChannel line = lines.get("stdout");
    return line == null ? null : Channels.newInputStream(line);
  }

  /** Returns its standard error when it was forked with {@link Forkpoint.Stdio#PIPE}, else null. */
  public InputStream stderr() {
    SocketChannel line = lines.get("stderr");
    return line == null ? null : Channels.newInputStream(line);
  }

  /** Returns its standard input when it was forked with {@link Forkpoint.Stdio#PIPE}, else null. */
  public OutputStream stdin() {
    SocketChannel line = lines.get("stdin");
    return line == null ? null : Channels.newOutputStream(line);
  }

  /** Sends a signal by its number; does nothing when the child has ended. */
  public void kill(int signal) {
    SocketChannel life = lines.get("life");
    if (life == null) return;
    try {
      life.write(ByteBuffer.wrap(("kill " + signal + "\n").getBytes(StandardCharsets.US_ASCII)));
    } catch (IOException ended) {
      // Nobody is there any more.
    }
  }

  /** Whether it has not ended. */
  public boolean isAlive() {
    return !end.isDone();
  }

  /** Waits for its end; returns the exit code, or 128 and the number of the signal, as {@link Process#waitFor()} does. */
  public int waitFor() throws InterruptedException {
    try {
      return code(end.get());
    } catch (ExecutionException impossible) {
      throw new IllegalStateException(impossible);
    }
  }

  /** Waits for at most a time; whether it has ended. */
  public boolean waitFor(long time, TimeUnit unit) throws InterruptedException {
    try {
      end.get(time, unit);
      return true;
    } catch (TimeoutException goesOn) {
      return false;
    } catch (ExecutionException impossible) {
      throw new IllegalStateException(impossible);
    }
  }

  /** Waits for its end; returns the number of the signal that ended it, or 0. */
  public int signal() throws InterruptedException {
    waitFor();
    return end.join()[1];
  }

  private static int code(int[] end) {
    return end[1] == 0 ? end[0] : 128 + end[1];
  }

  void add(String kind, SocketChannel line) throws IOException {
    if (lines.putIfAbsent(kind, line) != null) {
      line.close();
      return;
    }
    if (!kind.equals("life")) return;
    Thread reader = new Thread(() -> read(line), "forkpoint-child-" + index);
    reader.setDaemon(true);
    reader.start();
  }

  /** One that has ended already has lived. */
  boolean isBorn() {
    return id != null && (lines.containsKey("channel") || !isAlive());
  }

  /** Why it did not come to live; null while it still may. */
  ForkpointException failure() {
    if (isAlive() || id != null) return null;
    String words = said.toString().trim();
    String why = words.isEmpty() ? "it ended with " + code(end.join()) : words;
    return new ForkpointException("ERR_FORKPOINT_CHILD", "child " + index + " could not be started: " + why);
  }

  /** Reads `started RUN PID`, `exited CODE SIGNAL`, and the words of a failure. */
  private void read(SocketChannel life) {
    int[] how = {0, SIGKILL};
    try (BufferedReader lines = new BufferedReader(new InputStreamReader(Channels.newInputStream(life)))) {
      for (String line; (line = lines.readLine()) != null; ) {
        String[] words = line.split(" ");
        if (words.length == 3 && words[0].equals("started")) id = words[1];
        else if (words.length == 3 && words[0].equals("exited"))
          how = new int[] {Integer.parseInt(words[1]), Integer.parseInt(words[2])};
        else said.append(line).append('\n');
      }
    } catch (IOException | NumberFormatException lost) {
      // The launcher of the child was killed, and the child with it.
    }
    end.complete(how);
  }
}
