package app;

import io.micronaut.context.ApplicationContext;
import io.micronaut.http.MediaType;
import io.micronaut.http.annotation.Controller;
import io.micronaut.http.annotation.Get;
import io.micronaut.runtime.server.EmbeddedServer;
import java.util.Map;

/** Micronaut 4 on its Netty server. */
public class Micronaut {
  /** Its only page. */
  @Controller
  public static class Page {
    @Get(value = "/", produces = MediaType.TEXT_PLAIN)
    String index() {
      return Plain.answer();
    }
  }

  public static void main(String[] args) {
    Map<String, Object> settings = Map.of("micronaut.server.port", -1, "micronaut.server.host", "127.0.0.1");
    EmbeddedServer server = ApplicationContext.run(EmbeddedServer.class, settings);
    System.out.println("port " + server.getPort());
  }
}
