// Batches made from images that lie on the GPU as bytes.

// Where an image comes from and how it is varied. The order is that of `Placement` in placement.rs.
struct Placement {
    int image, mirrored, down, right;
};

struct Placed {
    Placement own, partner;
    // 0: nothing of the partner; 1: all pixels are mixed; 2: a window is the partner's.
    int mixing;
    float share;
    int top, left, bottom, right;
};

// The normalised value of a channel at a pixel of the varied image; what lies outside is black.
INLINE float placed(const unsigned char* pixels, const float* tables, const Placement& from, int channel, int y, int x,
                    int channels, int height, int width) {
    const float* table = tables + 256 * channel;
    if (from.mirrored) x = width - 1 - x;
    y += from.down, x += from.right;
    if (y < 0 || y >= height || x < 0 || x >= width) return table[0];
    return table[pixels[(((long long)from.image * channels + channel) * height + y) * width + x]];
}

KERNEL(place_images)(const unsigned char* pixels, const float* tables, const Placed* placements, float* to, int channels,
                     int height, int width, int images) {
    const int number = thread_number(), values = channels * height * width;
    if (number >= images * values) return;
    const int image = number / values, channel = number % channels, pixel = number % values / channels;
    const int y = pixel / width, x = pixel % width;
    const Placed& item = placements[image];
    const bool inside = y >= item.top && y < item.bottom && x >= item.left && x < item.right;
    float value = 0;
    if (item.mixing != 2 || !inside) value = placed(pixels, tables, item.own, channel, y, x, channels, height, width);
    if (item.mixing == 1 || (item.mixing == 2 && inside)) {
        const float other = placed(pixels, tables, item.partner, channel, y, x, channels, height, width);
        value = item.mixing == 1 ? item.share * value + (1.0f - item.share) * other : other;
    }
    to[number] = value;
}
EXPORT(place_images)
