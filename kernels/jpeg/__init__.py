"""A baseline JPEG decoder for the region that a crop needs, bit-exact with libjpeg-turbo (ITU-T T.81, T.871).

    markers     the header: frame, tables, scan                        T.81 B
    huffman     lookup tables from code lengths                        T.81 C, F.2.2.3
    stuffing    the scan without its 0xFF00, cut at restart markers    T.81 B.1.1.5
    bits        the bit reader                                         T.81 F.2.2.5
    block       a block's symbols to coefficients                      T.81 F.2.2
    scan        MCUs in order, of which the region's blocks are kept   T.81 F.2
    idct        32 blocks at once, dequantised                         libjpeg's jidctint
    upsample    chroma to full size, libjpeg's "fancy" triangles       libjpeg's jdsample
    colour      YCbCr to RGB in libjpeg's fixed point                  libjpeg's jdcolor
    decoder     memory, and the order of the above

Whatever is not plain and sound is answered with a return code, never with pixels; a library decodes it then.
"""
