{
  "targets": [
    {
      "target_name": "tcpu",
      "sources": [
        "addon.c", "tun-device.c", "tun-io.c", "netlink.c", "sysfs.c",
        "channel.c", "shared-memory.c", "unix-socket.c", "watch.c"
      ],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags!": ["-O2", "-fno-omit-frame-pointer"],
      "cflags": ["-std=gnu11", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra"],
      "configurations": {
        "Release": { "ldflags": ["-s"] }
      }
    }
  ]
}
