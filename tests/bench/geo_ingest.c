/* bench: sky-ingest beside the decoders it stands on, CPU time of runs in turn (medians of the ratios of ROUNDS).
 *   build/tests/geo_ingest [PAIRS]      256x256 crops of examples/toulouse as JPEG or PNG with PNG labels
 * The yardsticks are plain loops: open the file, decode every pixel, nothing else. libpng reads rows as it documents;
 * JPEG goes through GDALOpen and one GDALDatasetRasterIO in the layout that is quickest for it. Start-up of the program
 * (its --list run) is shown apart. This file includes GDAL itself, since a yardstick must not use our layer. */
#include <gdal.h>
#include <cpl_conv.h>
#include <fcntl.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIDE = 256, ROUNDS = 9 };
static char dir[] = "/tmp/sky-bench-XXXXXX";
static unsigned char px[SIDE * SIDE * 3];

static double cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what)
{
    perror(what);
    exit(4);
}

/* ---- the files ------------------------------------------------------------------------------------------------- */

static void path_of(char *to, const char *sub, int i, const char *ext) { sprintf(to, "%s/%s/a_%d_%d%s", dir, sub, i / 100, i % 100, ext); }

static void save(GDALDatasetH mem, const char *driver, const char *path)
{
    GDALDatasetH out = GDALCreateCopy(GDALGetDriverByName(driver), path, mem, 0, NULL, NULL, NULL);
    if (!out)
        die(path);
    GDALClose(out);
}

static void make(int n)
{
    char path[256];
    static float f[SIDE * SIDE];
    static unsigned char lab[SIDE * SIDE];
    GDALDatasetH in[3];
    for (int k = 0; k < 3; k++) {
        sprintf(path, "examples/toulouse/QB_%d_ortho.tif", k + 1);
        in[k] = GDALOpen(path, GA_ReadOnly);
        if (!in[k])
            die(path);
    }
    for (int i = 0; i < n; i++) {
        GDALDatasetH rgb = GDALCreate(GDALGetDriverByName("MEM"), "", SIDE, SIDE, 3, GDT_Byte, NULL);
        GDALDatasetH one = GDALCreate(GDALGetDriverByName("MEM"), "", SIDE, SIDE, 1, GDT_Byte, NULL);
        int x = i * 37 % 256, y = i * 101 % 256;
        for (int b = 0; b < 4; b++) {
            if (GDALRasterIO(GDALGetRasterBand(in[i % 3], 4 - b), GF_Read, x, y, SIDE, SIDE, f, SIDE, SIDE, GDT_Float32, 0, 0))
                die("read");
            for (int k = 0; k < SIDE * SIDE; k++) {
                double v = (f[k] - 100) / 600;
                v = v < 0 ? 0 : v > 1 ? 1 : v;
                lab[k] = (unsigned char)(b ? v * 255 : v * 9);
            }
            if (GDALRasterIO(GDALGetRasterBand(b ? rgb : one, b ? b : 1), GF_Write, 0, 0, SIDE, SIDE, lab, SIDE, SIDE, GDT_Byte, 0, 0))
                die("write");
        }
        path_of(path, "Images", i, ".jpg");
        save(rgb, "JPEG", path);
        path_of(path, "png", i, ".png");
        save(rgb, "PNG", path);
        sprintf(path, "%s/Semantic_mask/a_lab_%d_%d.png", dir, i / 100, i % 100);
        save(one, "PNG", path);
        GDALClose(rgb);
        GDALClose(one);
    }
    for (int k = 0; k < 3; k++)
        GDALClose(in[k]);
}

/* ---- yardsticks ------------------------------------------------------------------------------------------------- */

static void read_png(const char *path)
{
    FILE *f = fopen(path, "rb");
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    if (!f || !info || setjmp(png_jmpbuf(png)))
        die(path);
    png_init_io(png, f);
    png_read_info(png, info);
    size_t row = png_get_rowbytes(png, info);
    for (int y = 0; y < SIDE; y++)
        png_read_row(png, px + (size_t)y * row, NULL);
    png_read_end(png, NULL);
    png_destroy_read_struct(&png, &info, NULL);
    fclose(f);
}

static void read_jpeg(const char *path)
{
    GDALDatasetH d = GDALOpen(path, GA_ReadOnly);
    if (!d || GDALDatasetRasterIO(d, GF_Read, 0, 0, SIDE, SIDE, px, SIDE, SIDE, GDT_Byte, 3, NULL, 3, 3 * SIDE, 1))
        die(path);
    GDALClose(d);
}

static double yardstick(int n, int jpeg)
{
    char path[256];
    double t = cpu();
    for (int i = 0; i < n; i++) {
        path_of(path, jpeg ? "Images" : "png", i, jpeg ? ".jpg" : ".png");
        (jpeg ? read_jpeg : read_png)(path);
        sprintf(path, "%s/Semantic_mask/a_lab_%d_%d.png", dir, i / 100, i % 100);
        read_png(path);
    }
    return cpu() - t;
}

/* ---- sky-ingest --------------------------------------------------------------------------------------------------- */

static double wall; /* of the last child */

static double child(char *const argv[])
{
    struct timespec a, b;
    struct rusage u;
    int status;
    clock_gettime(CLOCK_MONOTONIC, &a);
    pid_t pid = fork();
    if (!pid) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 1);
        execv(argv[0], argv);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &u) != pid || status)
        die(argv[0]);
    clock_gettime(CLOCK_MONOTONIC, &b);
    wall = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static double ingest(int jpeg, const char *threads, const char *list)
{
    char *images = jpeg ? "Images/{i}_{r:d}_{c:d}.jpg" : "png/{i}_{r:d}_{c:d}.png";
    char tool[256];
    const char *build = getenv("BUILD");
    snprintf(tool, sizeof tool, "%s/bin/sky-ingest", build ? build : "build");
    char *argv[] = {tool, "-d", "folder", "--images", images, "--labels", "Semantic_mask/{i}_lab_{r:d}_{c:d}.png", "--threads", (char *)threads, dir, (char *)list, NULL};
    return child(argv);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Sorts v. */
static double median(double v[ROUNDS])
{
    qsort(v, ROUNDS, sizeof *v, ascending);
    return v[ROUNDS / 2];
}

static void compare(int n, int jpeg)
{
    double base[ROUNDS], one[ROUNDS], ratio[ROUNDS], extra[ROUNDS], faster[ROUNDS], start[ROUNDS], wall1[ROUNDS], wall2[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        base[r] = yardstick(n, jpeg);
        start[r] = ingest(jpeg, "1", "--list");
        double wall0 = wall;
        one[r] = ingest(jpeg, "1", NULL) - start[r];
        wall1[r] = wall - wall0;
        double two = ingest(jpeg, "2", NULL) - start[r];
        wall2[r] = wall - wall0;
        ratio[r] = base[r] / one[r];
        extra[r] = two / one[r];
        faster[r] = wall1[r] / wall2[r];
    }
    median(wall1); /* sorts: the shortest is first */
    median(wall2);
    printf("%s + PNG label: decoder %.0f us/pair, sky-ingest %.0f us/pair CPU (start of %.0f ms taken off), %.0f %% of the decoder's speed; "
           "2 threads: CPU time x %.2f, wall time / %.2f (shortest runs %.2f); medians of %d\n",
           jpeg ? "JPEG" : "PNG ", median(base) / n * 1e6, median(one) / n * 1e6, median(start) * 1e3, 100 * median(ratio), median(extra),
           median(faster), wall1[0] / wall2[0], ROUNDS);
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 1000;
    char sub[64], clean[96];
    if (!mkdtemp(dir))
        die(dir);
    for (int k = 0; k < 3; k++) {
        sprintf(sub, "%s/%s", dir, (const char *[]){"Images", "png", "Semantic_mask"}[k]);
        mkdir(sub, 0777);
    }
    GDALAllRegister();
    CPLSetConfigOption("GDAL_PAM_ENABLED", "NO");
    make(n);
    compare(n, 1);
    compare(n, 0);
    sprintf(clean, "rm -rf %s", dir);
    return system(clean) != 0;
}
