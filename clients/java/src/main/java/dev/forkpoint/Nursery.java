package dev.forkpoint;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** Where the lines of one fork's children arrive; docs/protocol.md says what they carry. */
final class Nursery {
  private static final long COME_MS = 120_000;
  private static final long COME_EACH_MS = 1_000;
  private static final int BACKLOG = 4096;
  private static final int HEAD_MAX = 64;
  private static final int ADDRESS_MAX = 100;
  private static final int SIGKILL = 9;
  private static final Set<String> LINES = Set.of("life", "stdin", "stdout", "stderr", "channel");
  /** Sockets that belong to this process; a clone has dead copies of them and closes these. */
  private static final Set<java.nio.channels.Channel> SOCKETS = ConcurrentHashMap.newKeySet();

  private final List<Child> children = new ArrayList<>();
  private final ServerSocketChannel server;
  private final Path path;

  Nursery(Path path, int count) throws IOException {
    for (int index = 0; index < count; index++) children.add(new Child(index));
    this.path = path;
    this.server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    try (ShortPath address = new ShortPath(path)) {
      server.bind(UnixDomainSocketAddress.of(address.path), BACKLOG);
    }
    SOCKETS.add(server);
    Thread acceptor = new Thread(this::accept, "forkpoint-nursery");
    acceptor.setDaemon(true);
    acceptor.start();
  }

  /** Waits until every child lives or has failed; returns the living ones and adds the errors of the others. */
  List<Child> settle(List<ForkpointException> errors) throws IOException {
    long deadline = System.nanoTime() + (COME_MS + COME_EACH_MS * children.size()) * 1_000_000;
    List<Child> waiting = new ArrayList<>(children);
    List<Child> living = new ArrayList<>();
    for (long delay = 1; ; delay = Math.min(delay * 2, 20)) {
      waiting.removeIf(
          child -> {
            ForkpointException failure = child.failure();
            if (failure != null) errors.add(failure);
            else if (child.isBorn()) living.add(child);
            else return false;
            return true;
          });
      if (waiting.isEmpty()) break;
      if (System.nanoTime() > deadline) {
        for (Child child : waiting) {
          child.kill(SIGKILL);
          errors.add(new ForkpointException("ERR_FORKPOINT_TIMEOUT", "child " + child.index() + " did not come"));
        }
        break;
      }
      Control.pause(delay);
    }
    close();
    living.sort((a, b) -> a.index() - b.index());
    return living;
  }

  /** Gives up everything; for a fork that failed before its children were on their way. */
  void abort() throws IOException {
    for (Child child : children) child.kill(SIGKILL);
    close();
  }

  private void close() throws IOException {
    SOCKETS.remove(server);
    server.close();
    Files.deleteIfExists(path);
  }

  private void accept() {
    try {
      for (; ; ) {
        SocketChannel line = server.accept();
        SOCKETS.add(line);
        // A line that says nothing keeps no other one waiting.
        Thread thread = new Thread(() -> identify(line), "forkpoint-line");
        thread.setDaemon(true);
        thread.start();
      }
    } catch (IOException closed) {
      // All children are there.
    }
  }

  /** Reads `INDEX LINE`, byte by byte, because what the line carries stands right behind. */
  private void identify(SocketChannel line) {
    try {
      ByteBuffer head = ByteBuffer.allocate(HEAD_MAX);
      ByteBuffer one = ByteBuffer.allocate(1);
      while (head.hasRemaining() && line.read(one.clear()) == 1 && one.get(0) != '\n') head.put(one.flip());
      String[] words = new String(head.array(), 0, head.position(), StandardCharsets.US_ASCII).split(" ");
      int index = Integer.parseInt(words[0]);
      if (words.length == 2 && LINES.contains(words[1]) && index < children.size()) children.get(index).add(words[1], line);
      else line.close();
    } catch (IOException | NumberFormatException wrong) {
      close(line);
    }
  }

  /** In a child: connects to the parent. A closed channel when it is not there any more. */
  static Channel reach(Path directory, Object fork) {
    if (!(Json.object(fork).get("socket") instanceof String name)) return new Channel(null);
    try (ShortPath address = new ShortPath(directory.resolve(name))) {
      SocketChannel line = SocketChannel.open(UnixDomainSocketAddress.of(address.path));
      SOCKETS.add(line);
      String head = Self.number(Json.object(fork).get("index"), 0) + " channel\n";
      line.write(ByteBuffer.wrap(head.getBytes(StandardCharsets.US_ASCII)));
      return new Channel(line);
    } catch (IOException gone) {
      return new Channel(null);
    }
  }

  /** In a clone: all connections belong to the original. */
  static void abandon() {
    for (java.nio.channels.Channel socket : SOCKETS) close(socket);
    SOCKETS.clear();
  }

  private static void close(java.nio.channels.Channel socket) {
    try {
      socket.close();
    } catch (IOException closed) {
      // There was nothing at the other end.
    }
  }

  /** A name for a socket in a directory with a long name: an address holds 107 bytes. */
  private static final class ShortPath implements AutoCloseable {
    final Path path;
    private final Path link;

    ShortPath(Path path) throws IOException {
      boolean fits = path.toString().getBytes(StandardCharsets.UTF_8).length < ADDRESS_MAX;
      link = fits ? null : Files.createTempDirectory("fp").resolve("d");
      if (link != null) Files.createSymbolicLink(link, path.getParent());
      this.path = link == null ? path : link.resolve(path.getFileName());
    }

    @Override
    public void close() throws IOException {
      if (link == null) return;
      Files.delete(link);
      Files.delete(link.getParent());
    }
  }
}
