import dev.forkpoint.Forkpoint;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;

/** Prints one number of every generator of the JDK in a clone; docs/clones-java.md says which of them differ. */
public class Draws {
  public static void main(String[] args) throws Exception {
    Math.random();
    ThreadLocalRandom.current().nextLong();
    UUID.randomUUID();
    Random old = new Random();
    Random registered = Forkpoint.reseedOnRestore(new Random());
    SecureRandom drbg = SecureRandom.getInstance("DRBG");
    SecureRandom registeredDrbg = Forkpoint.reseedOnRestore(SecureRandom.getInstance("DRBG"));
    drbg.nextLong();
    registeredDrbg.nextLong();
    SplittableRandom splittable = new SplittableRandom();
    new SecureRandom().nextLong();
    CountDownLatch restored = new CountDownLatch(1);
    Map<String, Object> other = new HashMap<>();
    Thread thread =
        new Thread(
            () -> {
              ThreadLocalRandom.current().nextLong();
              try {
                restored.await();
              } catch (InterruptedException error) {
                throw new IllegalStateException(error);
              }
              other.put("value", ThreadLocalRandom.current().nextLong());
            });
    thread.setDaemon(true);
    thread.start();
    Forkpoint.checkpointRestore(Path.of(args[0]));
    restored.countDown();
    thread.join();
    System.out.println("Math.random " + Math.random());
    System.out.println("ThreadLocalRandom " + ThreadLocalRandom.current().nextLong());
    System.out.println("ThreadLocalRandom-of-a-thread " + other.get("value"));
    Thread later = new Thread(() -> System.out.println("ThreadLocalRandom-later " + ThreadLocalRandom.current().nextLong()));
    later.start();
    later.join();
    System.out.println("new-Random " + new Random().nextLong());
    System.out.println("new-SplittableRandom " + new SplittableRandom().nextLong());
    System.out.println("SecureRandom " + new SecureRandom().nextLong());
    System.out.println("UUID " + UUID.randomUUID());
    System.out.println("registered-Random " + registered.nextLong());
    System.out.println("registered-DRBG " + registeredDrbg.nextLong());
    System.out.println("old-Random " + old.nextLong());
    System.out.println("old-DRBG " + drbg.nextLong());
    System.out.println("old-SplittableRandom " + splittable.nextLong());
  }
}
