package dev.forkpoint;

import java.io.DataInputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;

/** Random bytes of the kernel; every generator of the JDK may be what a clone has in common with others. */
final class Entropy {
  private Entropy() {}

  static byte[] bytes(int count) {
    byte[] bytes = new byte[count];
    try (DataInputStream random = new DataInputStream(new FileInputStream("/dev/urandom"))) {
      random.readFully(bytes);
    } catch (IOException error) {
      throw new UncheckedIOException("/dev/urandom cannot be read", error);
    }
    return bytes;
  }

  static long longAt(byte[] bytes, int index) {
    return ByteBuffer.wrap(bytes).getLong(index * 8);
  }
}
