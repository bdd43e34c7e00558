"""What ``--help`` says at length."""

DATA_HELP = (
    "shapes: drawn scenes, nothing to download. bccd: 364 photographs of blood cells, 9 MB, "
    "downloaded at need. cards: 363 photographs of playing cards, 39 MB, downloaded "
    "at need. voc: PASCAL VOC 2007 and 2012, about 3 GB, downloaded with --download. "
    "Else a folder of pictures with annotations in VOC's XML, COCO's JSON or YOLO's text; look at "
    "it with the command check"
)
MODEL_HELP = (
    "lite: small, minutes on two CPU cores. lite300: the same at 300 pixels, with a recipe for "
    "minutes on a GPU. ssd300, ssd512: the paper's, with VGG16. mobilenet, resnet18: on a "
    "classifier that knows ImageNet, for photographs"
)
PRECISION_HELP = "in which the network computes; bf16 pays where the processor has it"
WEIGHTS_HELP = (
    "a run's folder, a .safetensors file, torchvision's SSD300 as a .pth file, or coco for "
    "torchvision's weights (136 MB, downloaded at need). By default the newest run below runs/"
)
START_HELP = (
    "start from this detector, of other classes perhaps: all that fits is taken over, and the "
    "command says what. " + WEIGHTS_HELP.partition(" By default")[0]
)
TRAIN_EPILOG = (
    "Results go to a folder below runs/: log.csv, best.safetensors, last.safetensors, "
    "record.json. An interrupted run goes on exactly with --resume RUN. With --resume RUN --steps "
    "N it goes on until step N, also if it was finished: from there on each step has the learning "
    "rate that it has in a run of N steps. Several GPUs: "
    "torchrun --nproc_per_node=N -m ssd_lite train ..."
)
DETECT_EPILOG = (
    "Writes each picture's drawing, and detections.json: label, score, box (left, top, right, "
    "bottom; pixels); while it works, a line a picture in detections.jsonl. A video becomes an MP4 "
    "with its frame rate, without its sound, and a .jsonl with a line a frame: number, seconds, "
    "detections. What cannot be read is passed over and listed at the end; the exit code is then 1."
)
EXPORT_EPILOG = (
    "The file takes pictures as floats (batch, 3, size, size), RGB, levels from 0 to 255: "
    "normalization is inside, resizing is not. Its metadata hold classes, spec and thresholds as "
    "JSON. It is compared with PyTorch in onnxruntime before it is written. Needs: "
    "pip install ssd_lite[export]"
)
