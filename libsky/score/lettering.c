#include "score/lettering.h"
#include "base/utf8.h"

#include <string.h>

enum { ROW = 16, BOX = 127 }; /* letters in a row of the table; the one for what has none */

/* ' ' to '~', then the box. */
static const char *const table[6][SKY_LETTER_HIGH] = {
    {"        #    # #   # #    #   ##  #  ##     #      #   #                                      #",
     "        #    # #   # #   #### ## #  #  #    #     #     #   # # #   #                        # ",
     "        #    # #  ##### # #      #  # #     #    #       #   ###    #                        # ",
     "        #          # #   ###    #    #           #       #  ##### #####       #####         #  ",
     "        #         #####   # #  #    # # #        #       #   ###    #                      #   ",
     "                   # #  ####   # ## #  #          #     #   # # #   #     ##         ##    #   ",
     "        #          # #    #   #  ##  ## #          #   #                  #          ##   #    ",
     "                                                                         #                     "},
    {" ###    #    ###  ####     #  #####   ##  #####  ###   ###                  #       #      ### ",
     "#   #  ##   #   #     #   ##  #      #        # #   # #   #  ##    ##      #         #    #   #",
     "#  ## # #       #     #  # #  ####  #        #  #   # #   #  ##    ##     #   #####   #       #",
     "# # #   #     ##   ###  #  #      # ####     #   ###   ####              #             #    ## ",
     "##  #   #    #        # #####     # #   #   #   #   #     #  ##    ##     #   #####   #     #  ",
     "#   #   #   #         #    #  #   # #   #   #   #   #    #   ##    ##      #         #         ",
     " ###  ##### ##### ####     #   ###   ###    #    ###   ##          #        #       #       #  ",
     "                                                                  #                            "},
    {" ###    #   ####   ###  ###   ##### #####  ###  #   #  ###    ### #   # #     #   # #   #  ### ",
     "#   #  # #  #   # #   # #  #  #     #     #   # #   #   #      #  #  #  #     ## ## ##  # #   #",
     "# ### #   # #   # #     #   # #     #     #     #   #   #      #  # #   #     # # # ##  # #   #",
     "# # # #   # ####  #     #   # ####  ####  # ### #####   #      #  ##    #     # # # # # # #   #",
     "# ##  ##### #   # #     #   # #     #     #   # #   #   #      #  # #   #     #   # #  ## #   #",
     "#     #   # #   # #   # #  #  #     #     #   # #   #   #   #  #  #  #  #     #   # #  ## #   #",
     " ###  #   # ####   ###  ###   ##### #      #### #   #  ###   ##   #   # ##### #   # #   #  ### ",
     "                                                                                               "},
    {"####   ###  ####   #### ##### #   # #   # #   # #   # #   # #####  ###  #      ###    #        ",
     "#   # #   # #   # #       #   #   # #   # #   #  # #  #   #     #  #     #       #   # #       ",
     "#   # #   # #   # #       #   #   # #   # #   #  # #   # #     #   #     #       #  #   #      ",
     "####  #   # ####   ###    #   #   # #   # # # #   #     #     #    #      #      #             ",
     "#     # # # # #       #   #   #   #  # #  # # #  # #    #    #     #       #     #             ",
     "#     #  #  #  #      #   #   #   #  # #  ## ##  # #    #   #      #       #     #             ",
     "#      ## # #   # ####    #    ###    #   #   # #   #   #   #####  ###      #  ###             ",
     "                                                                                          #####"},
    {" #          #               #         ##        #       #      #  #      ##                    ",
     "  #         #               #        #          #                 #       #                    ",
     "       ###  # ##   ####  ## #  ###  ####   #### # ##   ##     ##  #  #    #   ## #  # ##   ### ",
     "          # ##  # #     #  ## #   #  #    #   # ##  #   #      #  # #     #   # # # ##  # #   #",
     "       #### #   # #     #   # #####  #    #   # #   #   #      #  ##      #   # # # #   # #   #",
     "      #   # #   # #     #   # #      #     #### #   #   #      #  # #     #   # # # #   # #   #",
     "       #### ####   ####  ####  ####  #        # #   #  ###     #  #  #   ###  # # # #   #  ### ",
     "                                           ###               ##                                "},
    {"                         #                                           ##   #   ##          #####",
     "                         #                                          #     #     #         #   #",
     "####   #### # ##   #### ####  #   # #   # #   # #   # #   # #####   #     #     #    ## # #   #",
     "#   # #   # ##    #      #    #   # #   # #   #  # #  #   #    #   #      #      #  #  #  #   #",
     "#   # #   # #      ###   #    #   #  # #  # # #   #   #   #   #     #     #     #         #   #",
     "####   #### #         #  #    #  ##  # #  # # #  # #   ####  #      #     #     #         #   #",
     "#         # #     ####    ##   ## #   #    # #  #   #     # #####    ##   #   ##          #####",
     "#         #                                            ###                                     "},
};

void sky_letters(char *text)
{
    char *to = text;
    for (size_t n; *text; text += n) {
        n = sky_utf8_length((const uint8_t *)text, strlen(text));
        *to++ = n == 1 && *text >= ' ' ? *text : BOX;
        n = n ? n : 1;
    }
    *to = 0;
}

void sky_letters_cut(char *letters, size_t most)
{
    const size_t n = strlen(letters), head = (most - 2) / 2, tail = most - 2 - head;
    if (n <= most)
        return;
    memcpy(letters + head, "..", 2);
    memmove(letters + head + 2, letters + n - tail, tail + 1);
}

/* One pixel of a letter. */
static void dot(uint8_t *at, size_t row_bytes, int scale)
{
    for (int y = 0; y < scale; y++)
        memset(at + (size_t)y * row_bytes, 0, 3 * (size_t)scale);
}

void sky_letters_draw(uint8_t *rgb, size_t row_bytes, const char *letters, int scale)
{
    for (; *letters; letters++, rgb += 3 * SKY_LETTER_WIDE * scale) {
        const int k = *letters - ' ';
        for (int y = 0; y < SKY_LETTER_HIGH; y++)
            for (int x = 0; x < SKY_LETTER_WIDE - 1; x++)
                if (table[k / ROW][y][k % ROW * SKY_LETTER_WIDE + x] == '#')
                    dot(rgb + (size_t)(y * scale) * row_bytes + 3 * x * scale, row_bytes, scale);
    }
}
