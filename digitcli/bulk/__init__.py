"""Read millions of pictures in portions, on one machine or many, from disks and object storage."""
