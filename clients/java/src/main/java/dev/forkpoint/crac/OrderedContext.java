package dev.forkpoint.crac;

import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Objects;

/** Before hooks run newest first, after hooks oldest first; all of them, whatever others throw. */
public class OrderedContext<R extends Resource> extends Context<R> {
  private final List<WeakReference<R>> resources = new ArrayList<>();
  /** Those that were notified of the checkpoint, newest first; held strongly until they were notified of its end. */
  private List<R> notified = List.of();

  @Override
  public void register(R resource) {
    Objects.requireNonNull(resource, "resource");
    synchronized (resources) {
      resources.removeIf(reference -> reference.get() == null);
      resources.add(new WeakReference<>(resource));
    }
  }

  /** Whether nobody would be notified. */
  public boolean isEmpty() {
    return living().isEmpty();
  }

  @Override
  public void beforeCheckpoint(Context<? extends Resource> context) throws CheckpointException {
    List<R> order = living();
    Collections.reverse(order);
    notified = order;
    CheckpointException failure = null;
    for (R resource : order) {
      try {
        resource.beforeCheckpoint(this);
      } catch (Throwable thrown) {
        if (thrown instanceof ThreadDeath) throw (ThreadDeath) thrown;
        if (failure == null) failure = new CheckpointException();
        suppress(failure, thrown);
      }
    }
    if (failure != null) throw failure;
  }

  @Override
  public void afterRestore(Context<? extends Resource> context) throws RestoreException {
    List<R> order = new ArrayList<>(notified);
    Collections.reverse(order);
    notified = List.of();
    RestoreException failure = null;
    for (R resource : order) {
      try {
        resource.afterRestore(this);
      } catch (Throwable thrown) {
        if (thrown instanceof ThreadDeath) throw (ThreadDeath) thrown;
        if (failure == null) failure = new RestoreException();
        suppress(failure, thrown);
      }
    }
    if (failure != null) throw failure;
  }

  private List<R> living() {
    List<R> found = new ArrayList<>();
    synchronized (resources) {
      for (WeakReference<R> reference : resources) {
        R resource = reference.get();
        if (resource != null) found.add(resource);
      }
    }
    return found;
  }

  /** What a context below has collected is told one by one; an exception that collects nothing is told itself. */
  static void suppress(Exception failure, Throwable thrown) {
    boolean isCollection = thrown instanceof CheckpointException || thrown instanceof RestoreException;
    if (!isCollection || thrown.getSuppressed().length == 0) {
      failure.addSuppressed(thrown);
      return;
    }
    for (Throwable reason : thrown.getSuppressed()) failure.addSuppressed(reason);
  }
}
