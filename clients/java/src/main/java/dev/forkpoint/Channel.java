package dev.forkpoint;

import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.Channels;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.SocketChannel;

/** Messages between a parent and a child: bytes, in order, none lost. */
public final class Channel implements AutoCloseable {
  private static final int MESSAGE_MAX = 1 << 30;
  private final SocketChannel line;

  /** {@code line} is null when there is nobody at the other end. */
  Channel(SocketChannel line) {
    this.line = line;
  }

  /** Sends one message; waits while the other end is behind. */
  public void send(byte[] message) throws IOException {
    if (line == null) throw new ClosedChannelException();
    ByteBuffer frame = ByteBuffer.allocate(4 + message.length).order(ByteOrder.LITTLE_ENDIAN);
    frame.putInt(message.length).put(message).flip();
    synchronized (line) {
      while (frame.hasRemaining()) line.write(frame);
    }
  }

  /** Returns the next message; throws EOFException when the other end is closed or has ended. */
  public byte[] receive() throws IOException {
    if (line == null) throw new EOFException();
    DataInputStream in = new DataInputStream(Channels.newInputStream(line));
    int length = Integer.reverseBytes(in.readInt());
    if (length < 0 || length > MESSAGE_MAX) throw new IOException("a message of " + length + " bytes");
    byte[] message = new byte[length];
    in.readFully(message);
    return message;
  }

  @Override
  public void close() throws IOException {
    if (line != null) line.close();
  }
}
