/* Start-up of a Cortex-M: memory, floating-point and vector units, and arguments by
   semihosting. Then main. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern uint8_t data_first[], data_end[], data_source[], bss_first[], bss_end[];
extern uint8_t stack_end[];
extern void initialise_monitor_handles(void);
extern int main(int argc, char **argv);
void start(void);
void fault(void);
void _init(void);
void _fini(void);

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_end, (void *)start, (void *)fault, (void *)fault, (void *)fault,
    (void *)fault, (void *)fault, (void *)fault};

static char line[256];

static int semihosting(int operation, const void *block)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void _init(void) {}
void _fini(void) {}

void fault(void)
{
    abort();
}

void start(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: coprocessors 10 and 11 */
    __asm__ volatile("dsb\n\tisb");
    memcpy(data_first, data_source, (size_t)(data_end - data_first));
    memset(bss_first, 0, (size_t)(bss_end - bss_first));
    initialise_monitor_handles();
    struct { char *text; uint32_t size; } block = {line, sizeof line};
    semihosting(0x15, &block); /* SYS_GET_CMDLINE */
    char *argv[16];
    int argc = 0;
    for (char *word = strtok(line, " "); word && argc < 16; word = strtok(NULL, " "))
        argv[argc++] = word;
    exit(main(argc, argv));
}
