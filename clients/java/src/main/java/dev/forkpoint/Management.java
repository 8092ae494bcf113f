package dev.forkpoint;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.instrument.Instrumentation;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * CRaC's management bean. org.crac.management asks for the platform's bean with the interface jdk.crac.management.CRaCMXBean. That
 * interface must not be found where no bean can be, so it is no class of this library: the agent defines it.
 */
public final class Management {
  private static final String PACKAGE = "jdk.crac.management";
  private static final String INTERFACE = PACKAGE + ".CRaCMXBean";
  private static final String NAME = "jdk.management:type=CRaC";
  private static final String FINDER = "java.lang.management.ManagementFactory$PlatformMBeanFinder";
  private static final String COMPONENT = "sun.management.spi.PlatformMBeanProvider$PlatformComponent";
  /** Class files of Java 17 (JVM specification, 4.1). */
  private static final int CLASS_VERSION = 61;

  private Management() {}

  /** Defines the interface, unless this JDK has it (then it is one with CRaC) or no management. */
  static void define(Instrumentation instrumentation) throws ReflectiveOperationException, IOException {
    Optional<Module> management = ModuleLayer.boot().findModule("java.management");
    boolean hasOwn = ModuleLayer.boot().modules().stream().anyMatch(module -> module.getPackages().contains(PACKAGE));
    if (management.isEmpty() || hasOwn) return;
    Set<Module> self = Set.of(Management.class.getModule());
    Map<String, Set<Module>> opens = Map.of("java.lang.management", self, "sun.management.spi", self);
    instrumentation.redefineModule(management.get(), Set.of(), Map.of(), opens, Set.of(), Map.of());
    Method defineClass =
        ClassLoader.class.getDeclaredMethod("defineClass", String.class, byte[].class, int.class, int.class);
    defineClass.setAccessible(true);
    byte[] bytes = interfaceFile();
    defineClass.invoke(ClassLoader.getSystemClassLoader(), INTERFACE, bytes, 0, bytes.length);
  }

  /** Called by the interface's initializer: nothing of the JDK's management is loaded before somebody asks. */
  @SuppressWarnings("unchecked")
  public static void install() throws ReflectiveOperationException {
    Class<?> bean = Class.forName(INTERFACE, false, ClassLoader.getSystemClassLoader());
    Class<?> component = Class.forName(COMPONENT);
    Field components = Class.forName(FINDER).getDeclaredField("componentMap");
    components.setAccessible(true);
    Object served = proxy(bean, Management::figure);
    Object entry = proxy(component, (proxy, method, arguments) -> describe(bean, served, method));
    ((Map<String, Object>) components.get(null)).put(NAME, entry);
  }

  private static Object proxy(Class<?> type, InvocationHandler handler) {
    return Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, handler);
  }

  private static Object figure(Object proxy, Method method, Object[] arguments) throws ReflectiveOperationException {
    return switch (method.getName()) {
      case "getUptimeSinceRestore" -> Forkpoint.uptimeSinceRestore();
      case "getRestoreTime" -> Forkpoint.restoreTime();
      case "getObjectName" -> Class.forName("javax.management.ObjectName").getConstructor(String.class).newInstance(NAME);
      default -> ofObject(proxy, method, arguments);
    };
  }

  private static Object describe(Class<?> bean, Object served, Method method) {
    return switch (method.getName()) {
      case "mbeanInterfaces" -> Set.of(bean);
      case "mbeanInterfaceNames" -> Set.of(INTERFACE);
      case "nameToMBeanMap" -> Map.of(NAME, served);
      case "getObjectNamePattern" -> NAME;
      case "isSingleton", "shouldRegister" -> true;
      case "getMBeans" -> java.util.List.of(served);
      default -> ofObject(served, method, new Object[] {null});
    };
  }

  private static Object ofObject(Object proxy, Method method, Object[] arguments) {
    return switch (method.getName()) {
      case "hashCode" -> System.identityHashCode(proxy);
      case "equals" -> proxy == arguments[0];
      default -> NAME;
    };
  }

  /** `public interface CRaCMXBean extends PlatformManagedObject`, with the two figures and an initializer that calls install. */
  private static byte[] interfaceFile() throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    DataOutputStream out = new DataOutputStream(bytes);
    out.writeInt(0xCAFEBABE);
    out.writeInt(CLASS_VERSION);
    String[] texts = {
      INTERFACE.replace('.', '/'), "java/lang/Object", "java/lang/management/PlatformManagedObject",
      Management.class.getName().replace('.', '/'), "install", "()V", "<clinit>", "Code", "()J",
      "getUptimeSinceRestore", "getRestoreTime"
    };
    // The texts are constants 1 to 11, the classes of the first four 12 to 15, then a name with its type, and a method.
    out.writeShort(texts.length + 4 + 2 + 1);
    for (String text : texts) {
      out.writeByte(1);
      out.writeUTF(text);
    }
    for (int text = 1; text <= 4; text++) constant(out, 7, text);
    constant(out, 12, 5, 6);
    constant(out, 10, 15, 16);
    shorts(out, 0x0601, 12, 13, 1, 14, 0, 3);
    shorts(out, 0x0401, 10, 9, 0);
    shorts(out, 0x0401, 11, 9, 0);
    // static: invokestatic constant 17; return.
    shorts(out, 0x0008, 7, 6, 1, 8, 0, 16, 0, 0, 0, 4, 0xb800, 17 << 8 | 0xb1, 0, 0);
    out.writeShort(0);
    return bytes.toByteArray();
  }

  private static void constant(DataOutputStream out, int tag, int... indexes) throws IOException {
    out.writeByte(tag);
    shorts(out, indexes);
  }

  private static void shorts(DataOutputStream out, int... values) throws IOException {
    for (int value : values) out.writeShort(value);
  }
}
