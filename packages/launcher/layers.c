// The page files of an image: a run gets links of its own, or copies where links are refused; a restore reads ahead what a
// trained image names.
#include "restore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define WEEK_S (7 * 24 * 3600)

// What was copied, for the report.
static long long copied_bytes;
static int copied_because;

// Copies that nobody uses any more make room for the new one.
static void remove_unused(const char *directory) {
  DIR *open_directory = opendir(directory);
  struct stat status;
  for (struct dirent *entry; open_directory != NULL && (entry = readdir(open_directory)) != NULL;)
    if (fstatat(dirfd(open_directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode) &&
        status.st_nlink == 1 && status.st_mtime + WEEK_S < time(NULL))
      unlinkat(dirfd(open_directory), entry->d_name, 0);
  if (open_directory != NULL) closedir(open_directory);
}

// Links a page file by way of one copy in the cache, which all restores of the image then use. The name says whose copy it
// is; its time of change is that of its last use.
static int link_cached(const struct run *run, const char *from, const struct stat *status, const char *to) {
  char name[128], draft[4400];
  struct stat held;
  char *cache = join(run->home, "/cache", NULL), *directory = join(cache, "/layers", NULL);
  snprintf(name, sizeof name, "/%llx-%llx-%llx-%llx.%09ld", (unsigned long long)status->st_dev, (unsigned long long)status->st_ino,
           (unsigned long long)status->st_size, (unsigned long long)status->st_mtim.tv_sec, status->st_mtim.tv_nsec);
  char *place = join(directory, name, NULL);
  int result = -1;
  if (stat(place, &held) == 0 && held.st_size == status->st_size) {
    utimensat(AT_FDCWD, place, NULL, 0);
    result = link(place, to);
  } else {
    mkdir(cache, 0700);
    mkdir(directory, 0700);
    remove_unused(directory);
    snprintf(draft, sizeof draft, "%s.%d.tmp", place, (int)getpid());
    if (copy_file(from, draft) == 0 && rename(draft, place) == 0) result = link(place, to);
    if (result == 0) copied_bytes += (long long)status->st_size;
    else unlink(draft);
  }
  free(cache);
  free(directory);
  free(place);
  return result;
}

// Gives the run links of its own to the page files its memory will be mapped from: then the image may be moved or deleted
// while the program runs. Where links are refused, because the image is on another file system or belongs to somebody else,
// one copy is made and reported.
void link_layers(const struct options *options, struct run *run) {
  char *directory = join(run->dir, "/ctl/layers", NULL);
  for (size_t i = 0; i < run->plan->count; i++) {
    const struct record *record = &run->plan->record[i];
    struct stat status;
    if (strcmp(record->key, "layer") != 0 || record->count < 2) continue;
    if (strchr(record->field[0], '/') != NULL) explain(options, "plan", record->field[0]);
    char *name = join("/layers/", record->field[0], NULL), *from = of_image(run, name), *to = join(directory, "/", record->field[0], NULL);
    mkdir(directory, 0700);
    if (stat(from, &status) != 0 || (long long)status.st_size != atoll(record->field[1])) explain(options, "file", join(run->image, name, NULL));
    if (link(from, to) != 0) {
      copied_because = errno;
      if (link_cached(run, from, &status, to) != 0) {
        if (copy_file(from, to) != 0) explain(options, "home", to);
        copied_bytes += (long long)status.st_size;
      }
    }
    free(name);
    free(from);
    free(to);
  }
  free(directory);
  if (copied_bytes > 0)
    fprintf(stderr, "Note: %lld MB of %s were copied into %s/cache, since it %s; the next restores use the copy.\n", copied_bytes / 1000000,
            run->image, run->home, copied_because == EPERM ? "belongs to another user" : "cannot be linked from there");
}

// Code that the program has made is mapped as well, which a mount with noexec refuses (mm/mmap.c); CRIU would say no more than EPERM.
void check_code(const struct options *options, const struct run *run) {
  struct statvfs status;
  if (plan_find(run->plan, "code") == NULL) return;
  char *runs = join(run->home, "/runs", NULL);
  if (statvfs(runs, &status) == 0 && (status.f_flag & ST_NOEXEC) != 0) explain(options, "noexec", runs);
  free(runs);
}

static void advise(const char *path, char **ranges, size_t count, int advice) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (count == 0) posix_fadvise(fd, 0, 0, advice);
  for (size_t i = 0; i + 1 < count; i += 2) posix_fadvise(fd, atoll(ranges[i]), atoll(ranges[i + 1]), advice);
  close(fd);
}

// Has the kernel begin to read what a trained image names, in one pass, before anything waits for it. What is in the page cache
// already costs next to nothing. A plan that is missing or damaged only costs time.
void read_ahead(const struct run *run) {
  size_t length;
  struct plan plan;
  char *path = of_image(run, "/prefetch.plan"), *bytes = read_file(path, 16u << 20, &length);
  free(path);
  if (bytes == NULL || plan_parse(bytes, length, &plan, NULL) != 0) return;
  const char *kind = plan_text(&plan, "forkpoint-plan", 0), *version = plan_text(&plan, "forkpoint-plan", 1);
  if (kind == NULL || version == NULL || strcmp(kind, "prefetch") != 0 || strcmp(version, "1") != 0) return;
  for (size_t i = 0; i < plan.count; i++) {
    const struct record *record = &plan.record[i];
    if (strcmp(record->key, "read") != 0 || record->count == 0) continue;
    char *name = join("/", record->field[0], NULL), *of = record->field[0][0] == '/' ? join(record->field[0], NULL) : of_image(run, name);
    advise(of, record->field + 1, record->count - 1, POSIX_FADV_WILLNEED);
    free(name);
    free(of);
  }
}

// Takes files out of the page cache, as far as nothing maps them: what a training then finds there was needed.
int evict_main(char **files) {
  int result = 0;
  for (; *files != NULL; files++) {
    int fd = open(*files, O_RDONLY | O_CLOEXEC);
    // Only what is on the disk can be dropped.
    if (fd < 0 || fdatasync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0) {
      warn("cannot take %s out of the page cache:", *files);
      result = 1;
    }
    if (fd >= 0) close(fd);
  }
  return result;
}
