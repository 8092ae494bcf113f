package dev.forkpoint;

import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.Stream;

/** The control directory as one member uses it; docs/protocol.md says what its files mean. */
final class Control {
  private static final int REQUEST_MAX = 4096;
  private static final int LINE_MAX = 1 << 20;
  private static final int EMPTY_OPENS_MAX = 100;
  private static final long FIFO_LIMIT_MS = 5_000;
  private final Path directory;
  private final Path member;
  /** The outcome FIFO while answers are awaited; null otherwise. Another thread may close it. */
  private volatile RandomAccessFile listener;

  Control(Path directory, long pid) {
    this.directory = directory;
    this.member = directory.resolve("members").resolve(String.valueOf(pid));
  }

  Path directory() {
    return directory;
  }

  Map<String, Object> identity() throws IOException {
    return Json.parseObject(Files.readString(directory.resolve("identity.json")));
  }

  /** Returns the checkpoint that somebody outside asks for; an empty map when there is none. */
  Map<String, Object> ask() throws IOException {
    try {
      return Json.parseObject(Files.readString(directory.resolve("ask.json")));
    } catch (NoSuchFileException none) {
      return Map.of();
    }
  }

  /** Writes members/PID/info.json; it appears whole or not at all. */
  void writeInfo(Map<String, ?> info) throws IOException {
    Files.createDirectories(
        member, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    Path fresh = member.resolve("info.json.new");
    Files.writeString(fresh, Json.write(info) + "\n");
    Files.move(fresh, member.resolve("info.json"), StandardCopyOption.ATOMIC_MOVE);
  }

  /** Removes the member's directory, so that a later process with this pid is not taken for a member. */
  void leave() {
    try (Stream<Path> files = Files.list(member)) {
      for (Path file : files.toList()) Files.deleteIfExists(file);
      Files.deleteIfExists(member);
    } catch (IOException gone) {
      // The control directory may be gone before its members are; nobody looks for them then.
    }
  }

  /** Writes one request; the launcher reads for as long as it lives, and the pod with it. */
  void send(Map<String, ?> request) throws IOException {
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("v", 1);
    line.putAll(request);
    byte[] bytes = (Json.write(line) + "\n").getBytes(StandardCharsets.UTF_8);
    if (bytes.length > REQUEST_MAX) {
      String message = "the request is " + bytes.length + " bytes long and may have " + REQUEST_MAX;
      throw new ForkpointException("ERR_FORKPOINT_OPTIONS", message);
    }
    // Mode rw, because it never blocks on a FIFO; one write of up to PIPE_BUF bytes is atomic (pipe(7)).
    try (RandomAccessFile fifo = openFifo(directory.resolve("request"))) {
      fifo.write(bytes);
    }
  }

  /** Waits a few seconds at most until the launcher has made the member's FIFO. */
  void awaitFifo() throws IOException {
    long deadline = System.nanoTime() + FIFO_LIMIT_MS * 1_000_000;
    while (!Files.exists(outcome())) {
      if (System.nanoTime() > deadline)
        throw new ForkpointException("ERR_FORKPOINT_NO_RUNTIME", "the launcher did not make " + outcome());
      pause(2);
    }
  }

  /** Keeps the FIFO open, so that the launcher can write its next line at once. */
  void listen() throws IOException {
    stopListening();
    listener = openFifo(outcome());
  }

  void stopListening() {
    RandomAccessFile open = listener;
    listener = null;
    if (open == null) return;
    try {
      open.close();
    } catch (IOException ignored) {
      // Nothing was written to it, so nothing can be lost.
    }
  }

  /**
   * Waits for the next line. Returns null when somebody else's checkpoint closed the FIFO meanwhile; throws
   * ERR_FORKPOINT_TIMEOUT.
   */
  Answer nextAnswer(long limitMs) throws IOException {
    long deadline = System.nanoTime() + limitMs * 1_000_000;
    RandomAccessFile mine = listener;
    for (long delay = 1; ; delay = Math.min(delay * 2, 20)) {
      if (mine == null || listener != mine) return null;
      // The number of bytes in a FIFO is FIONREAD's, which a stream of the same descriptor tells.
      InputStream stream = new FileInputStream(mine.getFD());
      if (stream.available() > 0) return Answer.parse(line(stream));
      if (System.nanoTime() > deadline)
        throw new ForkpointException("ERR_FORKPOINT_TIMEOUT", "no answer from the launcher within " + limitMs + " ms");
      pause(delay);
    }
  }

  /**
   * Blocks in opening the FIFO until somebody writes, and returns the line: a dump finds this thread in open(2), which a
   * restore repeats on the FIFO of the new pod. With {@code pending} in the answer the FIFO stays open.
   */
  Answer blockForAnswer() throws IOException {
    stopListening();
    // Ends of file without a line are opens of a writer that died; the next one may say something.
    for (int opens = 0; opens < EMPTY_OPENS_MAX; opens++) {
      try (FileInputStream stream = new FileInputStream(outcome().toFile())) {
        String line = line(stream);
        if (line == null) continue;
        Answer answer = Answer.parse(line);
        // Opened before the first is closed: a FIFO that nobody has open forgets what is in it.
        if (answer.isPending()) listener = openFifo(outcome());
        return answer;
      }
    }
    throw new ForkpointException("ERR_FORKPOINT_PROTOCOL", "no line came on " + outcome());
  }

  /**
   * Blocks a parked clone until it is handed over, and returns the line. Whoever parks it opens and closes the FIFO without a word
   * to see whether it stands there.
   */
  Map<String, Object> blockForAssignment() throws IOException {
    for (; ; ) {
      try (FileInputStream stream = new FileInputStream(member.resolve("assign").toFile())) {
        String line = line(stream);
        if (line != null) return Json.parseObject(line);
      }
    }
  }

  private Path outcome() {
    return member.resolve("outcome");
  }

  private static RandomAccessFile openFifo(Path path) throws IOException {
    try {
      if (!Files.exists(path)) throw new FileNotFoundException(path.toString());
      return new RandomAccessFile(path.toFile(), "rw");
    } catch (FileNotFoundException cause) {
      String message = "there is no " + path + ": the launcher of this program is gone";
      throw new ForkpointException("ERR_FORKPOINT_NO_RUNTIME", message, cause);
    }
  }

  /** Reads byte by byte, because a second line may stand behind this one. Null at the end of the file. */
  private static String line(InputStream stream) throws IOException {
    byte[] bytes = new byte[1024];
    for (int length = 0; ; ) {
      int next = stream.read();
      if (next < 0) return null;
      if (next == '\n') return new String(bytes, 0, length, StandardCharsets.UTF_8);
      if (length == LINE_MAX) throw new ForkpointException("ERR_FORKPOINT_PROTOCOL", "a line without an end");
      if (length == bytes.length) bytes = java.util.Arrays.copyOf(bytes, length * 2);
      bytes[length++] = (byte) next;
    }
  }

  static void pause(long ms) {
    try {
      Thread.sleep(ms);
    } catch (InterruptedException interrupted) {
      // The wait has a limit of its own, and the caller still wants to hear of the interruption.
      Thread.currentThread().interrupt();
      Thread.yield();
    }
  }
}
