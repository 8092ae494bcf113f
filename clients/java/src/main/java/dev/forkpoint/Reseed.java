package dev.forkpoint;

import java.lang.ref.WeakReference;
import java.lang.reflect.Field;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;

/**
 * New randomness for a clone. docs/clones-java.md says what is covered and what is not: a JVM has no list of the generators
 * that a program has made.
 */
final class Reseed {
  private static final List<WeakReference<Random>> REGISTERED = new ArrayList<>();

  private Reseed() {}

  static void register(Random random) {
    synchronized (REGISTERED) {
      REGISTERED.removeIf(reference -> reference.get() == null);
      REGISTERED.add(new WeakReference<>(random));
    }
  }

  /** Renews everything that can be reached; the first failure is thrown once all was tried. */
  static void process() throws Exception {
    byte[] seed = Entropy.bytes(8 * 5);
    List<Threads.Step> steps = new ArrayList<>();
    if (Opened.isOpen("java.util") && Opened.isOpen("java.lang")) {
      steps.add(() -> counter(Random.class, "seedUniquifier").set(Entropy.longAt(seed, 0)));
      steps.add(() -> counter(Class.forName("java.util.SplittableRandom"), "defaultGen").set(Entropy.longAt(seed, 1)));
      steps.add(
          () -> counter(java.util.concurrent.ThreadLocalRandom.class, "seeder").set(Entropy.longAt(seed, 2)));
      steps.add(() -> mathRandom().setSeed(Entropy.longAt(seed, 3)));
      steps.add(Reseed::threads);
    }
    if (Opened.isOpen("sun.security.provider")) steps.add(Reseed::nativeGenerators);
    steps.add(Reseed::registered);
    Exception failure = null;
    for (Threads.Step step : steps) {
      try {
        step.run();
      } catch (Exception error) {
        if (failure == null) failure = error;
        else failure.addSuppressed(error);
      }
    }
    if (failure != null) throw failure;
  }

  private static AtomicLong counter(Class<?> type, String name) throws ReflectiveOperationException {
    Field field = type.getDeclaredField(name);
    field.setAccessible(true);
    return (AtomicLong) field.get(null);
  }

  private static Random mathRandom() throws ReflectiveOperationException {
    Field field = Class.forName("java.lang.Math$RandomNumberGeneratorHolder").getDeclaredField("randomNumberGenerator");
    field.setAccessible(true);
    return (Random) field.get(null);
  }

  /** ThreadLocalRandom keeps its state in the threads themselves. */
  private static void threads() throws ReflectiveOperationException {
    Field seed = Thread.class.getDeclaredField("threadLocalRandomSeed");
    seed.setAccessible(true);
    for (Thread thread : allThreads()) {
      // 0 is a thread that has not drawn yet; it will ask the seeder, which is new.
      if (seed.getLong(thread) != 0) seed.setLong(thread, Entropy.longAt(Entropy.bytes(8), 0) | 1);
    }
  }

  /** All platform threads, without the stack traces that Thread.getAllStackTraces would stop them for. */
  private static List<Thread> allThreads() {
    ThreadGroup top = Thread.currentThread().getThreadGroup();
    while (top.getParent() != null) top = top.getParent();
    for (int size = top.activeCount() + 16; ; size *= 2) {
      Thread[] found = new Thread[size];
      int count = top.enumerate(found, true);
      // A full array may have left some out.
      if (count < size) return Arrays.asList(found).subList(0, count);
    }
  }

  /** What NativePRNG has read ahead from /dev/urandom; it would be dropped by itself after 100 ms. */
  private static void nativeGenerators() throws ReflectiveOperationException {
    for (String name : List.of("NativePRNG", "NativePRNG$NonBlocking", "NativePRNG$Blocking")) {
      Field field = Class.forName("sun.security.provider." + name).getDeclaredField("INSTANCE");
      field.setAccessible(true);
      Object source = field.get(null);
      if (source == null) continue;
      Field buffered = source.getClass().getDeclaredField("buffered");
      buffered.setAccessible(true);
      synchronized (source) {
        buffered.setInt(source, 0);
      }
    }
  }

  private static void registered() {
    List<Random> living = new ArrayList<>();
    synchronized (REGISTERED) {
      for (WeakReference<Random> reference : REGISTERED) if (reference.get() != null) living.add(reference.get());
    }
    for (Random random : living) {
      if (random instanceof SecureRandom secure) secure.setSeed(Entropy.bytes(32));
      else random.setSeed(Entropy.longAt(Entropy.bytes(8), 0));
    }
  }
}
