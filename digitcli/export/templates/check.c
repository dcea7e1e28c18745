/* Read images of 784 bytes from stdin, and write the ten logits and the answer of each, as floats. */
#include "digit_model.h"

#include <stdio.h>

int main(void)
{
    unsigned char bytes[DIGIT_PIXELS];
    float pixels[DIGIT_PIXELS], outputs[DIGIT_CLASSES + 1];

    while (fread(bytes, 1, DIGIT_PIXELS, stdin) == DIGIT_PIXELS) {
        for (int i = 0; i < DIGIT_PIXELS; i++)
            pixels[i] = (float)bytes[i] / 255.0f;
        outputs[DIGIT_CLASSES] = (float)digit_predict(pixels, outputs);
        if (fwrite(outputs, sizeof outputs[0], DIGIT_CLASSES + 1, stdout) != DIGIT_CLASSES + 1)
            return 1;
    }
    return 0;
}
