import org.crac.Context;
import org.crac.Core;
import org.crac.Resource;

/** Has a thread that looks like one with which HotSpot compiles, and is checkpointed; tells whether that thread was at work by then. */
public class Compiling {
  private static volatile boolean isDone;
  private static volatile long sum;

  public static void main(String[] args) throws Exception {
    long end = System.nanoTime() + Long.parseLong(args[0]) * 1_000_000;
    Thread compiler = new Thread(() -> compile(end), "C2 CompilerThread7");
    compiler.setDaemon(true);
    compiler.start();
    Core.getGlobalContext().register(TELLER);
    Core.checkpointRestore();
  }

  private static void compile(long end) {
    while (System.nanoTime() < end) sum++;
    isDone = true;
    // As the JVM's own, which live on.
    java.util.concurrent.locks.LockSupport.park();
  }

  private static final Resource TELLER =
      new Resource() {
        @Override
        public void beforeCheckpoint(Context<? extends Resource> context) {
          System.out.println(isDone ? "after it" : "while it compiles");
        }

        @Override
        public void afterRestore(Context<? extends Resource> context) {}
      };
}
