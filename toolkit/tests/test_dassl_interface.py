"""Import paths, names and signatures are upstream's, so that a trainer written for it runs here."""

import importlib
import inspect

import pytest

NAMES = {
    "dassl.config": "get_cfg_default clean_cfg",
    "dassl.engine": "TRAINER_REGISTRY build_trainer TrainerBase SimpleTrainer TrainerX TrainerXU SimpleNet",
    "dassl.engine.trainer": "TrainerBase SimpleTrainer TrainerX TrainerXU SimpleNet AverageMeter MetricMeter"
    " SummaryWriter DataManager build_optimizer build_lr_scheduler build_evaluator",
    "dassl.engine.build": "TRAINER_REGISTRY build_trainer",
    "dassl.data": "DataManager DatasetWrapper",
    "dassl.data.data_manager": "build_data_loader DataManager DatasetWrapper",
    "dassl.data.datasets": "DATASET_REGISTRY Datum DatasetBase build_dataset",
    "dassl.data.datasets.base_dataset": "Datum DatasetBase",
    "dassl.data.datasets.build": "DATASET_REGISTRY build_dataset",
    "dassl.data.datasets.da.office31": "Office31",
    "dassl.data.datasets.da.office_home": "OfficeHome",
    "dassl.data.datasets.da.visda17": "VisDA17",
    "dassl.data.datasets.da.domainnet": "DomainNet",
    "dassl.data.datasets.dg.pacs": "PACS",
    "dassl.data.datasets.ssl.cifar": "CIFAR10 CIFAR100",
    "dassl.data.transforms.randaugment": "RandAugment RandAugment2 RandAugmentFixMatch randaugment_list"
    " randaugment_list2 fixmatch_list",
    "dassl.data.transforms.autoaugment": "ImageNetPolicy CIFAR10Policy SVHNPolicy",
    "dassl.data.samplers": "build_sampler RandomDomainSampler SeqDomainSampler RandomClassSampler",
    "dassl.data.transforms": "build_transform INTERPOLATION_MODES",
    "dassl.data.transforms.transforms": "build_transform INTERPOLATION_MODES",
    "dassl.evaluation": "EVALUATOR_REGISTRY build_evaluator EvaluatorBase Classification",
    "dassl.evaluation.evaluator": "EvaluatorBase Classification",
    "dassl.metrics": "compute_accuracy compute_distance_matrix cosine_distance euclidean_squared_distance",
    "dassl.modeling": "BACKBONE_REGISTRY HEAD_REGISTRY NETWORK_REGISTRY Backbone build_backbone build_head"
    " build_network",
    "dassl.modeling.ops": "MixStyle random_mixstyle activate_mixstyle run_with_mixstyle deactivate_mixstyle"
    " crossdomain_mixstyle run_without_mixstyle EFDMix random_efdmix activate_efdmix run_with_efdmix deactivate_efdmix"
    " crossdomain_efdmix run_without_efdmix MaximumMeanDiscrepancy Conv2dDynamic DSBN1d DSBN2d mixup Attention"
    " TransNorm1d TransNorm2d Sequential2 ReverseGrad cross_entropy SinkhornDivergence MinibatchEnergyDistance",
    "dassl.modeling.ops.mixup": "mixup",
    "dassl.modeling.ops.mixstyle": "MixStyle",
    "dassl.modeling.ops.efdmix": "EFDMix",
    "dassl.modeling.ops.reverse_grad": "ReverseGrad reverse_grad",
    "dassl.modeling.ops.utils": "sharpen_prob reverse_index shuffle_index create_onehot sigmoid_rampup linear_rampup"
    " ema_model_update",
    "dassl.optim.radam": "RAdam PlainRAdam AdamW",
    "dassl.modeling.backbone": "BACKBONE_REGISTRY Backbone build_backbone",
    "dassl.optim": "build_optimizer build_lr_scheduler",
    "dassl.utils": "Registry check_availability setup_logger set_random_seed collect_env_info mkdir_if_missing"
    " check_isfile read_json write_json read_image listdir_nohidden tolist_if_not download_url AverageMeter MetricMeter"
    " save_checkpoint load_checkpoint resume_from_checkpoint load_pretrained_weights count_num_param open_all_layers"
    " open_specified_layers init_network_weights Logger",
}

SIGNATURES = {
    "dassl.config.clean_cfg": "cfg trainer",
    "dassl.data.data_manager.build_data_loader": "cfg sampler_type='SequentialSampler' data_source=None batch_size=64"
    " n_domain=0 n_ins=2 tfm=None is_train=True dataset_wrapper=None",
    "dassl.data.data_manager.DataManager": "cfg custom_tfm_train=None custom_tfm_test=None dataset_wrapper=None",
    "dassl.data.data_manager.DatasetWrapper": "cfg data_source transform=None is_train=False",
    "dassl.data.datasets.Datum": "impath='' label=0 domain=0 classname=''",
    "dassl.data.datasets.DatasetBase": "train_x=None train_u=None val=None test=None",
    "dassl.data.datasets.DatasetBase.download_data": "self url dst from_gdrive=True",
    "dassl.data.datasets.DatasetBase.generate_fewshot_dataset": "self data_sources num_shots=-1 repeat=False",
    "dassl.data.samplers.build_sampler": "sampler_type cfg=None data_source=None batch_size=32 n_domain=0 n_ins=16",
    "dassl.data.transforms.build_transform": "cfg is_train=True choices=None",
    "dassl.engine.SimpleNet": "cfg model_cfg num_classes kwargs",
    "dassl.engine.SimpleTrainer": "cfg",
    "dassl.engine.SimpleTrainer.test": "self split=None",
    "dassl.engine.TrainerBase.load_model": "self directory epoch=None",
    "dassl.engine.TrainerBase.register_model": "self name='model' model=None optim=None sched=None",
    "dassl.engine.TrainerBase.save_model": "self epoch directory is_best=False val_result=None model_name=''",
    "dassl.engine.TrainerBase.resume_model_if_exist": "self directory",
    "dassl.engine.TrainerBase.set_model_mode": "self mode='train' names=None",
    "dassl.engine.TrainerBase.model_backward_and_update": "self loss names=None",
    "dassl.engine.TrainerBase.prograd_backward_and_update": "self loss_a loss_b lambda_=1 names=None",
    "dassl.modeling.ops.MixStyle": "p=0.5 alpha=0.1 eps=1e-06 mix='random'",
    "dassl.modeling.ops.mixup": "x1 x2 y1 y2 beta preserve_order=False",
    "dassl.modeling.ops.cross_entropy": "input target label_smooth=0 reduction='mean'",
    "dassl.modeling.ops.SinkhornDivergence": "dist_metric='cosine' eps=0.01 max_iter=5 bp_to_sinkhorn=False",
    "dassl.modeling.ops.MaximumMeanDiscrepancy": "kernel_type='rbf' normalize=False",
    "dassl.modeling.ops.TransNorm2d": "num_features eps=1e-05 momentum=0.1 adaptive_alpha=True",
    "dassl.optim.radam.RAdam": "params lr=0.001",
    "dassl.engine.TrainerBase.write_scalar": "self tag scalar_value global_step=None",
    "dassl.evaluation.build_evaluator": "cfg kwargs",
    "dassl.evaluation.Classification": "cfg lab2cname=None kwargs",
    "dassl.evaluation.Classification.process": "self mo gt",
    "dassl.metrics.compute_accuracy": "output target topk=(1,)",
    "dassl.optim.build_lr_scheduler": "optimizer optim_cfg",
    "dassl.optim.build_optimizer": "model optim_cfg param_groups=None",
    "dassl.utils.Registry.register": "self obj=None force=False",
    "dassl.utils.save_checkpoint": "state save_dir is_best=False remove_module_from_keys=True model_name=''",
    "dassl.utils.resume_from_checkpoint": "fdir model optimizer=None scheduler=None",
    "dassl.utils.load_pretrained_weights": "model weight_path",
    "dassl.utils.setup_logger": "output=None",
}


@pytest.mark.parametrize("module", sorted(NAMES))
def test_names(module):
    loaded = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(loaded, name)] == []


def _find(path):
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            obj = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            obj = getattr(obj, part)
        return obj
    raise LookupError(path)


@pytest.mark.parametrize("path", sorted(SIGNATURES))
def test_signatures_begin_as_upstreams(path):
    parameters = inspect.signature(_find(path)).parameters.values()
    shown = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
    expected = SIGNATURES[path].split()
    assert shown[: len(expected)] == expected
    # what comes after is ours, and optional
    assert all(p.default is not p.empty for p in list(parameters)[len(expected) :])


def test_import_does_not_load_what_only_some_runs_need():
    import subprocess
    import sys

    code = "import sys, dassl.engine; print([m for m in ('tensorboard', 'gdown', 'sklearn') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_page_of_what_is_here_is_true():
    import re
    from pathlib import Path

    here, absent = (Path(__file__).parents[1] / "UPSTREAM.md").read_text().split("## Not here")
    for module in set(re.findall(r"`(dassl[.a-z0-9_]+)`", here)):
        importlib.import_module(module)
    for module in re.findall(r"`(dassl[.a-z0-9_]+)`", absent):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(module)
