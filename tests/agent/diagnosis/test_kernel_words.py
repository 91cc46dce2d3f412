"""Lines of kernel logs, as kernels and drivers have written them."""

from __future__ import annotations

import pytest

from madrun.agent.diagnosis.kernel_words import Victim, gpu_errors, oom_victims

OOM = {
    "Memory cgroup out of memory: Killed process 2301 (python) total-vm:280000kB, anon-rss:63144kB,"
    " file-rss:5120kB, shmem-rss:0kB, UID:0 pgtables:248kB oom_score_adj:0": Victim(
        2301, "python", 63144 * 1024
    ),
    "Out of memory: Killed process 7 (my prog (x)) total-vm:1kB": Victim(7, "my prog (x"),
    "Killed process 7 (python) total-vm:9kB, anon-rss:8kB, file-rss:0kB": Victim(7, "python", 8192),
    "Killed process 7, UID 1000, (python) total-vm:9kB, anon-rss:8kB": Victim(7, "python", 8192),
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/job,"
    "task_memcg=/job,task=pt_main_thread,pid=912,uid=1000": Victim(912, "pt_main_thread"),
    "python invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0": None,
    "oom_reaper: reaped process 2301 (python), now anon-rss:0kB": None,
    "Out of memory and no killable processes...": None,
}


@pytest.mark.parametrize(("line", "victim"), OOM.items())
def test_oom_victims(line: str, victim: Victim | None) -> None:
    assert list(oom_victims([line]).values()) == ([victim] if victim else [])


def test_what_is_told_twice_is_one_victim() -> None:
    lines = [
        "oom-kill:constraint=CONSTRAINT_NONE,task=python,pid=7,uid=0",
        "Out of memory: Killed process 7 (python) total-vm:9kB, anon-rss:8kB",
        "oom-kill:constraint=CONSTRAINT_NONE,task=python,pid=7,uid=0",
    ]
    assert oom_victims(lines) == {7: Victim(7, "python", 8192)}


GPU = {
    "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.":
        "GPU 0000:3b:00: Xid 79, has fallen off the bus",
    "NVRM: Xid (PCI:0000:10:1c): 63, pid=1896, Row Remapper: New row marked for remapping, reset":
        "GPU 0000:10:1c: Xid 63, a defect memory row or page was retired; reset the GPU",
    "NVRM: Xid (0000:01:00): 13, 0005 00000000 0000502d 00000104":
        "GPU 0000:01:00: Xid 13, an exception in the program's kernel",
    "NVRM: Xid (PCI:0000:01:00): 31, pid=77, name=python, Ch 00000008, intr 00000000. MMU Fault":
        "GPU 0000:01:00: Xid 31, an access to memory that is not mapped",
    "NVRM: Xid (PCI:0000:01:00): 31, pid=78, name=python, Ch 00000008, intr 00000000. MMU Fault":
        "",
    "NVRM: Xid (PCI:0000:01:00): 45, pid=77, name=python, Ch 00000010": "",
    "NVRM: Xid (PCI:0000:01:00): 94, pid=78, name=python, Contained: SM (0x1)":
        "GPU 0000:01:00: Xid 94, a contained memory error: only this program is hit",
    "NVRM: Xid (PCI:0000:01:00): 62, 0096(1c54) 00000000 00000000":
        "GPU 0000:01:00: Xid 62, 0096(1c54) 00000000 00000000",
    "nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 12028, Non-fatal, Link 32 egress non-posted PRIV":
        "NVSwitch 0000:c1:00.0: SXid 12028, Non-fatal, Link 32 egress non-posted PRIV",
    "amdgpu 0000:03:00.0: amdgpu: GPU reset begin!": "GPU 0000:03:00.0: was reset by its driver",
    "amdgpu 0000:08:00.0: amdgpu: ring gfx_0.0.0 timeout, signaled seq=1, emitted seq=2":
        "GPU 0000:08:00.0: ring gfx_0.0.0 timed out",
    "amdgpu 0000:c1:00.0: amdgpu: 2 uncorrectable hardware errors detected in umc block":
        "GPU 0000:c1:00.0: uncorrectable errors (RAS)",
    "amdgpu 0000:c1:00.0: amdgpu: [gfxhub0] no-retry page fault (src_id:0 ring:0 vmid:8 pasid:3)":
        "GPU 0000:c1:00.0: an access to memory that is not mapped",
    "amdgpu 0000:33:00.0: amdgpu: RAS: optional ras ta ucode is not available": "",
    "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  570.158.01": "",
}  # fmt: skip


@pytest.mark.parametrize(("line", "words"), GPU.items())
def test_gpu_errors(line: str, words: str) -> None:
    assert gpu_errors([line, line], pid=77) == ([words] if words else [])


def test_where_process_ids_are_others_nobodys_error_is_left_out() -> None:
    line = "NVRM: Xid (PCI:0000:01:00): 31, pid=78, name=python, Ch 00000008"
    assert gpu_errors([line]) == ["GPU 0000:01:00: Xid 31, an access to memory that is not mapped"]
