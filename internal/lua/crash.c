//go:build cgo

// The last thing a process says when a script crashes it, such as through ffi: where it was.
// Whoever started the process takes the line from its standard error (internal/script).

#define _GNU_SOURCE
#include "vm.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void say(const char *file, int line) {
  char text[320];
  int n = snprintf(text, sizeof text, "weir-at: %.256s:%d\n", file, line);
  if (n > 0 && write(STDERR_FILENO, text, n) < 0) return; // nobody listens
}

static void on_crash(int number, siginfo_t *info, void *context) {
  (void)info;
  (void)context;
  signal(number, SIG_DFL); // the instruction runs again after this and ends the process; so does a crash in here
  if (number == SIGABRT) raise(number); // waits for the end of this
  weir_vm *vm = weir_running;
  if (!vm || vm->running <= 0) return;
  if (vm->guess_line > 0) say(vm->guess_file, vm->guess_line);
  lua_Debug ar;
  if (weir_script_level(vm->inside ? vm->inside : vm->main, 0, &ar)) say(weir_file(&ar), ar.currentline); // a later line counts
}

static void watch(int number) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(number, &action, NULL);
}

// The Go runtime installs its handlers after this and forwards to them what happens in C code.
__attribute__((constructor)) static void install(void) {
  const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) watch(crashes[i]);
}

// What the C library aborts for is not forwarded, so that handler takes the place of the runtime's.
void weir_watch_abort(void) { watch(SIGABRT); }
