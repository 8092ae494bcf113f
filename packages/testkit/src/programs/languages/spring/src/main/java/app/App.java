package app;

import java.util.concurrent.atomic.AtomicInteger;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** A Spring Boot application that knows nothing of forkpoint; org.crac on its class path makes Spring take part. */
@SpringBootApplication
@RestController
public class App {
  private final AtomicInteger hits = new AtomicInteger();

  @GetMapping("/")
  String hit() {
    return hits.incrementAndGet() + " " + Math.random();
  }

  public static void main(String[] args) {
    SpringApplication.run(App.class, args);
  }
}
